"""Test-time augmentation, which merges the poses of several sizes and flips: :class:`PoseEstimatorWithTTA`.

Final poses are merged, so it works with every model that takes whole images. It is the multi-scale testing in
Table 5 of DirectPose and of InsPose.
"""

from collections.abc import Callable, Sequence
from functools import partial
from typing import Any

import numpy as np
import torch
from detectron2.config import CfgNode, configurable
from detectron2.data import transforms as T
from detectron2.structures import Boxes, Instances
from torch import Tensor, nn
from torchvision.ops import nms

from posecore.config.options import choice
from posecore.data.augment import RESIZES, EmptyImageError
from posecore.modeling.estimator import PoseEstimator
from posecore.modeling.voting import vote_on_keypoints
from posecore.structures.boxes import enclosing_boxes
from posecore.structures.oks import oks_nms
from posecore.structures.skeleton import Skeleton

# Takes the poses of one image and returns the indices of those to keep, best first.
Merge = Callable[[Instances], Tensor]


def with_tta(cfg: CfgNode, model: nn.Module) -> tuple[CfgNode, nn.Module]:
    """The configuration and the model with the test-time augmentation of TEST.AUG.

    Returns:
        Without TEST.AUG.ENABLED both arguments. With it, a configuration whose loaders do not resize images,
        and the model in :class:`PoseEstimatorWithTTA`.
    """
    if not cfg.TEST.AUG.ENABLED:
        return cfg, model
    original = cfg.clone()
    original.defrost()
    original.INPUT.MIN_SIZE_TEST = 0  # no resize, in Detectron2
    original.freeze()
    return original, PoseEstimatorWithTTA(cfg, model)


class PoseEstimatorWithTTA(nn.Module):
    """Runs a model on several variants of each image, of different sizes and flipped, and merges the poses.

    It is called like the model, but with images of their original size, and resizes them as the mapper does.
    The variants run one after the other, each with all images of the batch, so the largest determines the
    memory. With a single variant nothing is merged, and the result is that of the model.
    """

    @configurable
    def __init__(
        self,
        model: PoseEstimator,
        *,
        resizes: Sequence[T.Augmentation],
        flip: bool,
        merge: Merge,
        limit: int,
        voting: bool = False,
    ) -> None:
        """
        Args:
            model: takes whole images.
            resizes: one for each size.
            flip: whether each size is also used flipped.
            merge: chooses which poses to keep from those of all variants of an image.
            limit: the greatest number of poses of an image; the best are kept.
            voting: whether the keypoints of the poses that are kept are found by a vote of all
                (:func:`~posecore.modeling.voting.vote_on_keypoints`).
        """
        super().__init__()
        if not resizes:
            raise ValueError("TEST.AUG.MIN_SIZES is empty: it must hold the sizes to test at")
        self.model = model
        self.skeleton = model.skeleton
        self.resizes = resizes
        self.flips = (False, True) if flip else (False,)
        self.merge = merge
        self.limit = limit
        self.voting = voting
        self.train(model.training)

    @classmethod
    def from_config(cls, cfg: CfgNode, model: PoseEstimator) -> dict[str, Any]:
        """Reads TEST.AUG, TEST.DETECTIONS_PER_IMAGE and INPUT.RESIZE_ROUNDING."""
        resize = choice(cfg, "INPUT.RESIZE_ROUNDING", RESIZES)
        return {
            "model": model,
            "resizes": [resize(size, cfg.TEST.AUG.MAX_SIZE, "choice") for size in cfg.TEST.AUG.MIN_SIZES],
            "flip": cfg.TEST.AUG.FLIP,
            "merge": build_merge(cfg, model.skeleton),
            "limit": cfg.TEST.DETECTIONS_PER_IMAGE,
            "voting": cfg.TEST.AUG.VOTING,
        }

    def forward(self, batched_inputs: list[dict[str, Any]]) -> list[dict[str, Instances]]:
        """The poses of images; arguments and results are those of :meth:`PoseEstimator.forward`.

        Raises:
            ValueError: the dicts hold person crops instead of images.
        """
        if any("image" not in inputs for inputs in batched_inputs):
            raise ValueError(
                "TEST.AUG.ENABLED must be False for models that take person crops, which have their own keys "
                "for flips; it is for models that take whole images"
            )
        variants = [
            self._variant(batched_inputs, resize, flip) for resize in self.resizes for flip in self.flips
        ]
        if len(variants) == 1:
            return [{"instances": instances} for instances in variants[0]]
        merged = []
        for found in zip(*variants, strict=True):
            together = Instances.cat(list(found))
            together = together[together.pred_classes == 0]  # so that other classes suppress no person
            kept = together[self.merge(together)[: self.limit]]
            if self.voting:
                kept.pred_keypoints = vote_on_keypoints(kept, together)
            merged.append({"instances": kept})
        return merged

    def _variant(
        self, batched_inputs: list[dict[str, Any]], resize: T.Augmentation, flip: bool
    ) -> list[Instances]:
        """The poses of one variant of the images, in the coordinates of the images."""
        results = self.model([_changed(inputs, resize, flip) for inputs in batched_inputs])
        found = [result["instances"] for result in results]
        return [flip_instances(instances, self.skeleton) for instances in found] if flip else found


def _changed(inputs: dict[str, Any], resize: T.Augmentation, flip: bool) -> dict[str, Any]:
    """A copy of the inputs with a resized image; height and width keep the coordinates of the original."""
    image = inputs["image"]
    size = {"height": image.shape[1], "width": image.shape[2]}
    pixels = image.permute(1, 2, 0).cpu().numpy()
    try:
        resized = resize.get_transform(pixels).apply_image(pixels)
    except EmptyImageError as error:
        raise ValueError(f"image {inputs.get('file_name', 'of the batch')}: {error}") from error
    if flip:
        resized = resized[:, ::-1]
    changed = torch.from_numpy(np.ascontiguousarray(resized.transpose(2, 0, 1)))
    return {**size, **inputs, "image": changed}


def flip_instances(instances: Instances, skeleton: Skeleton) -> Instances:
    """A flipped copy: x -> W - x in boxes and keypoints, with left and right keypoints swapped.

    Args:
        instances: with pred_boxes and pred_keypoints (M, K, 3) in continuous pixels of an image of width W.
        skeleton: defines which keypoints are swapped.
    """
    width = instances.image_size[1]
    x0, y0, x1, y1 = instances.pred_boxes.tensor.unbind(dim=1)
    x, y, confidence = instances.pred_keypoints[:, list(skeleton.flip_indices)].unbind(dim=2)
    flipped = Instances(instances.image_size, **instances.get_fields())
    flipped.pred_boxes = Boxes(torch.stack([width - x1, y0, width - x0, y1], dim=1))
    flipped.pred_keypoints = torch.stack([width - x, y, confidence], dim=2)
    return flipped


def build_merge(cfg: CfgNode, skeleton: Skeleton) -> Merge:
    """The merge that TEST.AUG asks for.

    Raises:
        ValueError: the key or TEST.AUG.NMS_THRESH cannot be used.
    """
    threshold = cfg.TEST.AUG.NMS_THRESH
    if not 0 < threshold <= 1:
        raise ValueError(f"TEST.AUG.NMS_THRESH must be above 0 and at most 1, not {threshold}")
    merges: dict[str, Merge] = {
        "oks": partial(merge_by_oks, skeleton=skeleton, threshold=threshold),
        "box": partial(merge_by_box, threshold=threshold),
    }
    return choice(cfg, "TEST.AUG.MERGE", merges)


def merge_by_oks(instances: Instances, *, skeleton: Skeleton, threshold: float) -> Tensor:
    """Drops poses whose OKS with a better one is above a threshold; all keypoints count.

    The area of a person is that of the smallest box around the keypoints.
    """
    points = instances.pred_keypoints[..., :2]
    areas = Boxes(enclosing_boxes(points)).area()
    sigmas = points.new_tensor(skeleton.sigmas)
    return oks_nms(points, instances.scores, areas, sigmas, threshold)


def merge_by_box(instances: Instances, *, threshold: float) -> Tensor:
    """Drops poses whose box overlaps that of a better one by an IoU above a threshold."""
    return nms(instances.pred_boxes.tensor, instances.scores, threshold)
