"""The model :class:`DirectPose`, an FCOS detector that regresses keypoints instead of boxes.

Source: DirectPose (arXiv 1911.07451), section 3.

Letters: N images, P positive locations, Q selected locations, M candidates, K keypoints.
"""

from typing import Any

import torch
from detectron2.config import CfgNode, configurable
from detectron2.modeling import META_ARCH_REGISTRY
from detectron2.structures import ImageList, Instances
from torch import Tensor, nn

from directpose.kpalign import KPAlign
from directpose.losses import HEATMAP_TARGETS, KEYPOINT_LOSSES, TrainingSettings, heatmap_loss
from directpose.naive import NaiveKeypointBranch
from posecore.config.options import choice
from posecore.layers.precision import full_precision
from posecore.layers.tower import Tower
from posecore.modeling.estimator import CommonParts, PoseEstimator, make_detections
from posecore.modeling.fcos.decode import clip_boxes
from posecore.modeling.fcos.detector import DensePredictions, FCOSDetector
from posecore.modeling.fcos.head import (
    FCOSHead,
    PredictionConv,
    box_prediction,
    centerness_prediction,
    class_prediction,
)
from posecore.modeling.fcos.locations import SelectedLocations
from posecore.modeling.fcos.targets import DetectionTargets
from posecore.modeling.heatmap_branch import HeatmapBranch
from posecore.modeling.losses import LossTerm, reduce_losses
from posecore.structures.boxes import enclosing_boxes
from posecore.structures.instances import keypoint_tensors

# The values of MODEL.DIRECTPOSE.HEAD.
KEYPOINT_BRANCHES: dict[str, type[KPAlign] | type[NaiveKeypointBranch]] = {
    "kpalign": KPAlign,
    "naive": NaiveKeypointBranch,
}


@META_ARCH_REGISTRY.register()
class DirectPose(PoseEstimator):
    """Direct end-to-end multi-person pose estimation (arXiv 1911.07451).

    Args:
        keypoint_branch: predicts keypoints at selected locations from the maps of the pyramid.
        heatmap_branch: auxiliary branch of section 3.3, or None.
        training_settings: the losses of the keypoints and of the auxiliary branch.
        box_scales_keypoints: whether the factors per level of the prediction "ltrb" multiply the keypoints
            too.
        detector: FCOS with the predictions "cls" and "centerness"; a prediction "ltrb" adds boxes (section
            4.2), which non-maximum suppression then acts on.
        common: the parts of every model; the backbone computes the levels of a pyramid.
    """

    @configurable
    def __init__(
        self,
        *,
        keypoint_branch: KPAlign | NaiveKeypointBranch,
        heatmap_branch: HeatmapBranch | None,
        training_settings: TrainingSettings,
        box_scales_keypoints: bool,
        detector: FCOSDetector,
        common: CommonParts,
    ) -> None:
        super().__init__(common)
        self.detector = detector
        self.keypoint_branch = keypoint_branch
        self.heatmap_branch = heatmap_branch
        self.training_settings = training_settings
        self.box_scales_keypoints = box_scales_keypoints

    @classmethod
    def from_config(cls, cfg: CfgNode) -> dict[str, Any]:
        """The constructor's arguments, of MODEL.DIRECTPOSE, MODEL.FCOS and the keys that all models share."""
        fcos, node = cfg.MODEL.FCOS, cfg.MODEL.DIRECTPOSE
        common = CommonParts.from_config(cfg)
        in_channels = common.backbone.output_shape()[fcos.IN_FEATURES[0]].channels
        towers = {"cls": Tower(in_channels, fcos.CHANNELS, fcos.NUM_CONVS, fcos.NORM)}
        predictions: dict[str, PredictionConv] = {
            "cls": class_prediction("cls", fcos.CHANNELS, fcos.PRIOR_PROB),
            "centerness": centerness_prediction("cls", fcos.CHANNELS),
        }
        if node.BOX_BRANCH:
            towers["box"] = Tower(in_channels, fcos.CHANNELS, fcos.NUM_CONVS, fcos.NORM)
            predictions["ltrb"] = box_prediction("box", fcos.CHANNELS, len(fcos.IN_FEATURES))
        heatmap_branch = None
        if node.HEATMAP_LEVEL:
            heatmap_branch = HeatmapBranch(
                node.HEATMAP_LEVEL,
                in_channels,
                node.HEATMAP_CHANNELS,
                common.skeleton.num_keypoints,
                norm=node.HEATMAP_NORM,
                prior_prob=fcos.PRIOR_PROB,
            )
        branch = choice(cfg, "MODEL.DIRECTPOSE.HEAD", KEYPOINT_BRANCHES)
        return {
            "keypoint_branch": branch.from_config(cfg, common.skeleton, in_channels),
            "heatmap_branch": heatmap_branch,
            "training_settings": TrainingSettings(
                keypoint_loss=choice(cfg, "MODEL.DIRECTPOSE.KEYPOINT_LOSS", KEYPOINT_LOSSES),
                heatmap_targets=choice(cfg, "MODEL.DIRECTPOSE.HEATMAP_LABELS", HEATMAP_TARGETS),
                heatmap_weight=node.HEATMAP_WEIGHT,
            ),
            "box_scales_keypoints": node.BOX_SCALES_KEYPOINTS,
            "detector": FCOSDetector.from_config(cfg, common.backbone, FCOSHead(towers, predictions)),
            "common": common,
        }

    def dense_modules(self) -> list[nn.Module]:
        """The backbone and the head of the detector."""
        return [*super().dense_modules(), self.detector.head]

    def losses(self, images: ImageList, targets: list[Instances]) -> dict[str, Tensor]:
        """loss_cls, loss_centerness and loss_keypoint; also loss_box and loss_heatmap with these branches."""
        features = self.backbone(images.tensor)
        predictions = self.detector(features)
        detection_targets = self.detector.targets(predictions, targets, self.skeleton.num_keypoints)
        terms = self.detector.loss_terms(predictions, detection_targets)
        terms["loss_keypoint"] = self._keypoint_term(predictions, detection_targets)
        if self.heatmap_branch is not None:
            terms["loss_heatmap"] = self._heatmap_term(self.heatmap_branch, features, targets)
        return reduce_losses(terms)

    def predict(self, images: ImageList) -> list[Instances]:
        """The poses of each image, with class probability times centerness as score.

        The third value of the keypoints is 1.
        """
        predictions = self.detector(self.backbone(images.tensor))
        probability, scores = detection_scores(predictions)
        candidates = self.detector.select(predictions, probability, scores)
        selected = candidates.locations
        positions = self.positions(predictions, selected)
        with_boxes = "ltrb" in predictions.maps
        boxes = predictions.boxes_at(selected) if with_boxes else enclosing_boxes(positions)
        keypoints = torch.cat([positions, torch.ones_like(positions[..., :1])], dim=-1)
        parts = (values.split(candidates.counts) for values in (boxes, candidates.scores, keypoints))
        return [self._detections(*part) for part in zip(images.image_sizes, *parts, strict=True)]

    def positions(self, predictions: DensePredictions, selected: SelectedLocations) -> Tensor:
        """(Q, K, 2) keypoints of the selected locations, in pixels."""
        locations = predictions.locations
        points, strides = locations.points[selected.index], locations.strides[selected.index]
        return points[:, None] + self.offsets(predictions, selected) * strides[:, None, None]

    def offsets(self, predictions: DensePredictions, selected: SelectedLocations) -> Tensor:
        """(Q, K, 2) keypoints relative to the selected locations, in cells of the locations' levels."""
        offsets = self.keypoint_branch(predictions.features, predictions.locations, selected)
        if self.box_scales_keypoints:
            levels = predictions.locations.levels[selected.index]
            offsets = offsets * predictions.scales["ltrb"][levels, None, None]
        return offsets

    def _keypoint_term(self, predictions: DensePredictions, targets: DetectionTargets) -> LossTerm:
        """The keypoint loss at the positive locations."""
        positives = targets.positives
        offsets = self.offsets(predictions, positives.locations)
        gt_offsets = positives.keypoints[..., :2] - positives.points[:, None]
        gt_offsets = gt_offsets / positives.strides[:, None, None]
        labeled = positives.keypoints[..., 2] > 0
        return self.training_settings.keypoint_loss(offsets, gt_offsets, labeled, targets.centerness)

    def _heatmap_term(
        self, branch: HeatmapBranch, features: dict[str, Tensor], targets: list[Instances]
    ) -> LossTerm:
        """The focal loss of the auxiliary heatmaps."""
        feature = features[branch.level]
        heatmaps = self.training_settings.heatmap_targets(
            keypoint_tensors(targets, self.skeleton.num_keypoints),
            (feature.shape[2], feature.shape[3]),
            self.backbone.output_shape()[branch.level].stride,
        )
        focal = self.detector.training_settings
        return heatmap_loss(
            full_precision(branch(feature)),
            heatmaps,
            alpha=focal.focal_alpha,
            gamma=focal.focal_gamma,
            weight=self.training_settings.heatmap_weight,
        )

    def _detections(
        self, image_size: tuple[int, int], boxes: Tensor, scores: Tensor, keypoints: Tensor
    ) -> Instances:
        """The detections of one image that non-maximum suppression keeps.

        Args:
            image_size: (height, width).
            boxes: (M, 4) of the candidates.
            scores: (M,).
            keypoints: (M, K, 3).
        """
        clipped = clip_boxes(boxes, image_size)
        kept = self.detector.suppress(clipped.tensor, scores)
        return make_detections(image_size, clipped[kept], scores[kept], keypoints[kept])


def detection_scores(predictions: DensePredictions) -> tuple[Tensor, Tensor]:
    """(N, R) class probability, and (N, R) score: class probability times centerness."""
    probability = predictions.probability("cls")
    return probability, probability * predictions.probability("centerness")
