"""The model: crops of persons in, a pose of each out.

Letters: N or M crops, K keypoints, G groups of K queries.
"""

import math
from collections.abc import Mapping, Sequence
from typing import Any

import torch
from detectron2.config import CfgNode, configurable
from detectron2.modeling import META_ARCH_REGISTRY, Backbone
from detectron2.structures import Boxes, ImageList, Instances
from torch import Tensor, nn

from posecore.layers.precision import full_precision
from posecore.modeling.estimator import PoseEstimator
from posecore.structures.oks import oks_nms
from posecore.structures.skeleton import Skeleton
from poseur.build import model_parts
from poseur.flip import Scored, unflip
from poseur.network import COARSE, Predictions
from poseur.prediction import Prediction
from poseur.settings import Scoring, Training


@META_ARCH_REGISTRY.register()
class Poseur(PoseEstimator):
    """Direct human pose regression with transformers (arXiv 2201.07412).

    It looks at one person at a time, so what comes in for an image are its persons, cut out:

    * ``crops`` (M, C, h, w), 0-255, in the order of ``cfg.INPUT.FORMAT``, the same h and w in a batch;
    * ``crop_to_image`` (M, 2, 3), affine maps from pixels of the crops to those of the image;
    * ``boxes`` (M, 4) and ``box_scores`` (M,), in the image;
    * ``height`` and ``width`` of the image.

    M may be 0. In training there is one crop, and ``instances`` has its person, in pixels of the crop, v = 0
    outside of it.

    Args:
        backbone: from crops to the named maps of ``in_features``.
        in_features: names of the maps that the network reads, finest first.
        skeleton: which keypoints a person has.
        network: from these maps to :class:`~poseur.network.Predictions`.
        pose_losses: "coarse" and "decoder" -> the loss of these stages (:data:`poseur.rle.PoseLoss`).
        training: what becomes of losses.
        scoring: what becomes of predictions.
        pixel_mean, pixel_std: see :class:`PoseEstimator`.
    """

    sigmas: Tensor

    @configurable
    def __init__(
        self,
        *,
        backbone: Backbone,
        in_features: Sequence[str],
        skeleton: Skeleton,
        network: nn.Module,
        pose_losses: Mapping[str, nn.Module],
        training: Training,
        scoring: Scoring,
        pixel_mean: tuple[float, ...],
        pixel_std: tuple[float, ...],
    ) -> None:
        super().__init__(backbone=backbone, skeleton=skeleton, pixel_mean=pixel_mean, pixel_std=pixel_std)
        self.in_features = in_features
        self.network = network
        self.pose_losses = nn.ModuleDict(pose_losses)
        self.how_to_train = training
        self.how_to_score = scoring
        self.register_buffer("sigmas", torch.tensor(skeleton.sigmas), persistent=False)

    @classmethod
    def from_config(cls, cfg: CfgNode) -> dict[str, Any]:
        return model_parts(cfg)

    def preprocess(self, batched_inputs: list[dict[str, Any]]) -> ImageList:
        """All crops of all images, one after another, normalized; they need no padding.

        Raises:
            ValueError: there are images instead of crops, or crops of different sizes.
        """
        if any("crops" not in inputs for inputs in batched_inputs):
            raise ValueError("Poseur looks at one person at a time: INPUT.SAMPLES must be 'person_crops'")
        sizes = {tuple(inputs["crops"].shape[2:]) for inputs in batched_inputs}
        if len(sizes) > 1:
            raise ValueError(f"all crops of a batch must have one size, not {sorted(sizes)}")
        crops = torch.cat([inputs["crops"].to(self.device) for inputs in batched_inputs])
        normalized = (crops - self.pixel_mean) / self.pixel_std
        return ImageList(normalized, [(crops.shape[2], crops.shape[3])] * len(crops))

    def losses(self, images: ImageList, targets: list[Instances]) -> dict[str, Tensor]:
        """loss_coarse and loss_decoder0, loss_decoder1, ..., one for each layer (equation 4).

        Keypoints that are not labeled cost nothing, but count in the mean.
        """
        how = self.how_to_train
        keypoints = torch.cat([target.gt_keypoints.tensor for target in targets])
        labeled = keypoints[..., 2] > 0  # (N, K)
        height, width = images.tensor.shape[2:]
        # Where nothing is labeled there may be anything, and 0 * NaN is NaN.
        points = torch.where(labeled[..., None], keypoints[..., :2], 0) / keypoints.new_tensor(
            [width, height]
        )
        stages = self.predictions(images.tensor).stages
        with torch.autocast(self.device.type, enabled=False):
            errors = {
                name: self.pose_losses[_part(name)](stage, points[:, None].expand_as(stage.points))
                for name, stage in stages.items()
            }
        losses = {}
        for name, each in errors.items():  # (N, G, K)
            weight = 1.0 if name == COARSE else how.decoder_weight
            total = (each * labeled[:, None]).sum()
            losses[f"loss_{name}"] = weight * total / (len(each) if how.per_crop else each.numel())
        return losses

    def predict(self, images: ImageList) -> list[Instances]:
        """Of each crop its person, as far as the crop alone tells: the box is all of it, with score 1."""
        if not len(images.tensor):
            return []
        parts = images.tensor.split(self.how_to_score.crops_at_once)
        found = [self._find(crops) for crops in parts]
        points = torch.cat([part.points for part in found])
        scores = torch.cat([part.scores for part in found])
        height, width = size = images.image_sizes[0]
        keypoints = torch.cat([points * points.new_tensor([width, height]), scores[..., None]], dim=-1)
        return [
            Instances(
                size,
                pred_boxes=Boxes(points.new_tensor([[0, 0, width, height]])),
                scores=points.new_ones(1),
                pred_classes=torch.zeros(1, dtype=torch.int64, device=self.device),
                pred_keypoints=person[None],
            )
            for person in keypoints
        ]

    def postprocess(
        self, results: list[Instances], images: ImageList, batched_inputs: list[dict[str, Any]]
    ) -> list[Instances]:
        """Per image its persons, best first; those that lie on a better one are left out."""
        persons = iter(results)
        return [
            self._in_image([next(persons) for _ in range(len(inputs["crops"]))], inputs)
            for inputs in batched_inputs
        ]

    def predictions(self, crops: Tensor) -> Predictions:
        """Normalized crops (N, C, h, w) -> what the network makes of them.

        Everything behind the backbone is small, deals with positions, and runs in full precision.
        """
        features = self.backbone(crops)
        with torch.autocast(crops.device.type, enabled=False):
            return self.network([full_precision(features[name]) for name in self.in_features])

    def _find(self, crops: Tensor) -> Scored:
        """Normalized crops (M, C, h, w) -> keypoints, as shares of the crops' width and height."""
        how = self.how_to_score
        plain = self._scored(self.predictions(crops).result)
        if how.fusion is None:
            return plain
        flipped = unflip(self.predictions(crops.flip(3)).result, self.skeleton.flip_indices)
        return how.fusion(plain, self._scored(flipped))

    def _scored(self, prediction: Prediction) -> Scored:
        return Scored(prediction.points, self.how_to_score.keypoints(prediction.scales))

    def _in_image(self, persons: list[Instances], inputs: dict[str, Any]) -> Instances:
        """The persons of one image's crops, in its coordinates."""
        affine = inputs["crop_to_image"].to(self.device)
        boxes, box_scores = inputs["boxes"].to(self.device), inputs["box_scores"].to(self.device)
        none = affine.new_zeros(0, self.skeleton.num_keypoints, 3)
        keypoints = torch.cat([none, *(person.pred_keypoints for person in persons)])
        linear, shift = affine[:, :, :2], affine[:, :, 2]
        points = keypoints[..., :2] @ linear.mT + shift[:, None]
        scores = self.how_to_score.persons(box_scores, keypoints[..., 2])
        # The area of what the crop shows, padding included, stands for the person's.
        areas = torch.linalg.det(linear).abs() * math.prod(inputs["crops"].shape[2:])
        kept = oks_nms(points, scores, areas, self.sigmas, self.how_to_score.oks_nms_thresh)
        return Instances(
            (inputs["height"], inputs["width"]),
            pred_boxes=Boxes(boxes[kept]),
            scores=scores[kept],
            pred_classes=torch.zeros_like(kept),
            pred_keypoints=torch.cat([points, keypoints[..., 2:]], dim=-1)[kept],
        )


def _part(stage: str) -> str:
    """Which of the pose losses is a stage's."""
    return COARSE if stage == COARSE else "decoder"
