"""Test-time augmentation: the poses of an image found at several sizes and flipped, and merged.

Whole results are merged, so it works with any model that takes whole images. Multi-scale testing in
Table 5 of DirectPose and of InsPose is this.
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
from posecore.data.augment import RESIZES
from posecore.modeling.estimator import PoseEstimator
from posecore.structures.boxes import enclosing_boxes
from posecore.structures.oks import oks_nms
from posecore.structures.skeleton import Skeleton

# From the poses of one image to the indices of those to keep, best first.
Merge = Callable[[Instances], Tensor]


def with_tta(cfg: CfgNode, model: nn.Module) -> tuple[CfgNode, nn.Module]:
    """What images have to go through, and then the model, as TEST.AUG asks for.

    Returns:
        Both as they are, unless TEST.AUG.ENABLED: then the model with its augmentation, and a
        configuration that leaves images at their own size.
    """
    if not cfg.TEST.AUG.ENABLED:
        return cfg, model
    original = cfg.clone()
    original.defrost()
    original.INPUT.MIN_SIZE_TEST = 0  # Detectron2's word for no resize
    original.freeze()
    return original, PoseEstimatorWithTTA(cfg, model)


class PoseEstimatorWithTTA(nn.Module):
    """A model that looks at each image several times.

    It is called as the model is, but with images at their original size: it resizes them itself, as
    the mapper would. The variants run one after the other, each with all images of the batch, so that
    memory is that of the largest. Of a single variant nothing is merged: the result is the model's own.
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
    ) -> None:
        """
        Args:
            model: one that takes whole images.
            resizes: what images go through, one after the other.
            flip: whether each size is looked at flipped, too.
            merge: which of one image's poses, of all variants together, are kept.
            limit: at most so many are, the best.
        """
        super().__init__()
        if not resizes:
            raise ValueError("TEST.AUG.MIN_SIZES is empty: it needs the sizes to test at")
        self.model = model
        self.skeleton = model.skeleton
        self.resizes = resizes
        self.flips = (False, True) if flip else (False,)
        self.merge = merge
        self.limit = limit
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
        }

    def forward(self, batched_inputs: list[dict[str, Any]]) -> list[dict[str, Instances]]:
        """One dict per image, as :meth:`PoseEstimator.forward` takes and gives them.

        Raises:
            ValueError: the dicts hold no images but persons cut out of them.
        """
        if any("image" not in inputs for inputs in batched_inputs):
            raise ValueError(
                "TEST.AUG.ENABLED is for models that take whole images; one that takes a crop of each "
                "person has keys of its own for that"
            )
        variants = [
            self._variant(batched_inputs, resize, flip) for resize in self.resizes for flip in self.flips
        ]
        if len(variants) == 1:
            return [{"instances": instances} for instances in variants[0]]
        merged = []
        for found in zip(*variants, strict=True):
            together = Instances.cat(list(found))
            together = together[together.pred_classes == 0]  # what is no person drops none
            merged.append({"instances": together[self.merge(together)[: self.limit]]})
        return merged

    def _variant(
        self, batched_inputs: list[dict[str, Any]], resize: T.Augmentation, flip: bool
    ) -> list[Instances]:
        """What the model finds at one size, in the coordinates of the images that came in."""
        results = self.model([_changed(inputs, resize, flip) for inputs in batched_inputs])
        found = [result["instances"] for result in results]
        return [flip_instances(instances, self.skeleton) for instances in found] if flip else found


def _changed(inputs: dict[str, Any], resize: T.Augmentation, flip: bool) -> dict[str, Any]:
    """A copy with another image; poses come back in the coordinates of the one that was there."""
    image = inputs["image"]
    size = {"height": image.shape[1], "width": image.shape[2]}
    pixels = image.permute(1, 2, 0).cpu().numpy()
    resized = resize.get_transform(pixels).apply_image(pixels)
    if flip:
        resized = resized[:, ::-1]
    changed = torch.from_numpy(np.ascontiguousarray(resized.transpose(2, 0, 1)))
    return {**size, **inputs, "image": changed}


def flip_instances(instances: Instances, skeleton: Skeleton) -> Instances:
    """A copy with x -> W - x in boxes and keypoints, and the names of left and right swapped.

    Args:
        instances: with pred_boxes and pred_keypoints (M, K, 3) in continuous pixels of the image,
            whose width is W.
    """
    width = instances.image_size[1]
    x0, y0, x1, y1 = instances.pred_boxes.tensor.unbind(dim=1)
    x, y, confidence = instances.pred_keypoints[:, list(skeleton.flip_indices)].unbind(dim=2)
    flipped = Instances(instances.image_size, **instances.get_fields())
    flipped.pred_boxes = Boxes(torch.stack([width - x1, y0, width - x0, y1], dim=1))
    flipped.pred_keypoints = torch.stack([width - x, y, confidence], dim=2)
    return flipped


def build_merge(cfg: CfgNode, skeleton: Skeleton) -> Merge:
    """What TEST.AUG.MERGE stands for.

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
    """Drops a pose where a better one is more similar than the threshold, all keypoints counted.

    The area of a person is that of the least box around the keypoints.
    """
    points = instances.pred_keypoints[..., :2]
    areas = Boxes(enclosing_boxes(points)).area()
    sigmas = points.new_tensor(skeleton.sigmas)
    return oks_nms(points, instances.scores, areas, sigmas, threshold)


def merge_by_box(instances: Instances, *, threshold: float) -> Tensor:
    """Drops a pose where the box of a better one overlaps its own (IoU) by more than the threshold."""
    return nms(instances.pred_boxes.tensor, instances.scores, threshold)
