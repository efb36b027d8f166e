"""The detector FCOS as a part of a model: :class:`FCOSDetector`.

The detector predicts persons at every cell of a feature pyramid, makes the targets and loss terms of these
predictions, and selects the candidates of inference. The method that holds it adds the keypoints.

Source: FCOS (arXiv 2006.09214).

Letters: N images, C channels, L levels, R = sum of H_l * W_l over the levels, M candidates or detections.
"""

from collections.abc import Sequence
from dataclasses import dataclass

from detectron2.config import CfgNode
from detectron2.modeling import Backbone
from detectron2.structures import Instances
from torch import Tensor, nn

from posecore.config.options import choice
from posecore.layers.precision import full_precision
from posecore.modeling.fcos.decode import Candidates, boxes_at, select_candidates, suppress
from posecore.modeling.fcos.head import HeadOutput
from posecore.modeling.fcos.locations import Locations, SelectedLocations, make_locations
from posecore.modeling.fcos.losses import (
    CLASSIFICATION_COUNTS,
    ClassificationCount,
    count_positives,
    detection_loss_terms,
)
from posecore.modeling.fcos.targets import DetectionTargets, make_targets
from posecore.modeling.losses import LossTerm


@dataclass(frozen=True)
class TrainingSettings:
    """Settings of the assignment of persons to locations and of the losses.

    Attributes:
        center_radius: half the side of the region of positive locations around the center of a box, in
            strides.
        size_ranges: largest box size of each level but the last, in pixels.
        classification_count: count by which the classification loss is normalized.
        focal_alpha: weight of positives in focal losses.
        focal_gamma: focusing exponent of focal losses.
        giou_smoothing: area in cells that is added to the intersection and the union of boxes.
    """

    center_radius: float = 1.5
    size_ranges: tuple[float, ...] = (64, 128, 256, 512)
    classification_count: ClassificationCount = count_positives
    focal_alpha: float = 0.25
    focal_gamma: float = 2.0
    giou_smoothing: float = 1.0

    @classmethod
    def from_config(cls, cfg: CfgNode) -> "TrainingSettings":
        """Reads MODEL.FCOS."""
        fcos = cfg.MODEL.FCOS
        return cls(
            center_radius=fcos.CENTER_RADIUS,
            size_ranges=tuple(fcos.SIZE_RANGES),
            classification_count=choice(cfg, "MODEL.FCOS.CLS_NORMALIZER", CLASSIFICATION_COUNTS),
            focal_alpha=fcos.FOCAL_ALPHA,
            focal_gamma=fcos.FOCAL_GAMMA,
            giou_smoothing=fcos.GIOU_SMOOTHING,
        )


@dataclass(frozen=True)
class InferenceSettings:
    """Settings of the selection and suppression of candidates.

    Attributes:
        score_thresh: class probability that a candidate must exceed.
        topk_per_level: largest number of candidates per level.
        topk_per_image: largest number of candidates per image; 0 for no limit.
        nms_thresh: IoU above which the box with the lower score is dropped.
        max_detections: largest number of detections per image.
    """

    score_thresh: float = 0.05
    topk_per_level: int = 1000
    topk_per_image: int = 0
    nms_thresh: float = 0.5
    max_detections: int = 100

    @classmethod
    def from_config(cls, cfg: CfgNode) -> "InferenceSettings":
        """Reads MODEL.FCOS and TEST.DETECTIONS_PER_IMAGE."""
        fcos = cfg.MODEL.FCOS
        return cls(
            score_thresh=fcos.SCORE_THRESH,
            topk_per_level=fcos.TOPK_PER_LEVEL,
            topk_per_image=fcos.TOPK_PER_IMAGE,
            nms_thresh=fcos.NMS_THRESH,
            max_detections=cfg.TEST.DETECTIONS_PER_IMAGE,
        )


@dataclass(frozen=True)
class DensePredictions:
    """The predictions at all locations.

    Attributes:
        maps: name of the prediction -> (N, R, C), in full precision.
        towers: name of the tower -> one (N, C, H_l, W_l) per level.
        scales: name of the prediction -> (L,) learned factors, for predictions that have them.
        features: one (N, C, H_l, W_l) per level, the maps that the head reads.
        locations: the R locations.
    """

    maps: dict[str, Tensor]
    towers: dict[str, list[Tensor]]
    scales: dict[str, Tensor]
    features: list[Tensor]
    locations: Locations

    def probability(self, name: str) -> Tensor:
        """(N, R) sigmoid of a prediction that has one channel."""
        return self.maps[name][..., 0].sigmoid()

    def boxes_at(self, selected: SelectedLocations) -> Tensor:
        """(Q, 4) boxes in pixels from the prediction "ltrb"."""
        return boxes_at(self.maps["ltrb"], self.locations, selected)


class FCOSDetector(nn.Module):
    """FCOS without a backbone: the dense head, the targets and losses, and the selection of candidates.

    Args:
        head: computes a :class:`~posecore.modeling.fcos.head.HeadOutput` from the maps of the levels. It has
            the map "cls" (N, R, 1), and "centerness" (N, R, 1) and "ltrb" (N, R, 4) if the method predicts
            them.
        in_features: names of the levels, finest first.
        strides: pixels per cell of each level.
        training_settings: settings of targets and losses.
        inference_settings: settings of candidates and detections.
    """

    def __init__(
        self,
        *,
        head: nn.Module,
        in_features: Sequence[str],
        strides: Sequence[int],
        training_settings: TrainingSettings,
        inference_settings: InferenceSettings,
    ) -> None:
        super().__init__()
        self.head = head
        self.in_features = list(in_features)
        self.strides = list(strides)
        self.training_settings = training_settings
        self.inference_settings = inference_settings

    @classmethod
    def from_config(cls, cfg: CfgNode, backbone: Backbone, head: nn.Module) -> "FCOSDetector":
        """Reads MODEL.FCOS; the method makes the head."""
        shapes = backbone.output_shape()
        return cls(
            head=head,
            in_features=cfg.MODEL.FCOS.IN_FEATURES,
            strides=[shapes[name].stride for name in cfg.MODEL.FCOS.IN_FEATURES],
            training_settings=TrainingSettings.from_config(cfg),
            inference_settings=InferenceSettings.from_config(cfg),
        )

    def forward(self, features: dict[str, Tensor]) -> DensePredictions:
        """The maps of the pyramid by name -> the predictions at all locations."""
        levels = [features[name] for name in self.in_features]
        sizes = [(level.shape[2], level.shape[3]) for level in levels]
        output: HeadOutput = self.head(levels)
        return DensePredictions(
            maps={name: full_precision(values) for name, values in output.maps.items()},
            towers=output.towers,
            scales=output.scales,
            features=levels,
            locations=make_locations(sizes, self.strides, levels[0].device),
        )

    def targets(
        self, predictions: DensePredictions, instances: list[Instances], num_keypoints: int
    ) -> DetectionTargets:
        """The targets of dense predictions, from the persons of each image; see :func:`make_targets`."""
        return make_targets(
            predictions.locations,
            instances,
            num_keypoints,
            radius=self.training_settings.center_radius,
            size_ranges=self.training_settings.size_ranges,
        )

    def loss_terms(self, predictions: DensePredictions, targets: DetectionTargets) -> dict[str, LossTerm]:
        """loss_cls; also loss_centerness and loss_box if these are predicted."""
        settings = self.training_settings
        return detection_loss_terms(
            predictions.maps,
            targets,
            classification_count=settings.classification_count,
            focal_alpha=settings.focal_alpha,
            focal_gamma=settings.focal_gamma,
            giou_smoothing=settings.giou_smoothing,
        )

    def select(self, predictions: DensePredictions, probability: Tensor, scores: Tensor) -> Candidates:
        """The candidates of a batch.

        Args:
            predictions: the predictions whose locations are selected.
            probability: (N, R) class probability, which is compared with the threshold.
            scores: (N, R) score by which candidates are ranked.
        """
        settings = self.inference_settings
        return select_candidates(
            probability,
            scores,
            predictions.locations,
            score_thresh=settings.score_thresh,
            topk_per_level=settings.topk_per_level,
            topk_per_image=settings.topk_per_image,
        )

    def suppress(self, boxes: Tensor, scores: Tensor) -> Tensor:
        """Indices of the boxes of one image, (M, 4), that non-maximum suppression keeps, best first."""
        settings = self.inference_settings
        return suppress(boxes, scores, nms_thresh=settings.nms_thresh, max_detections=settings.max_detections)
