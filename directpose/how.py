"""How DirectPose trains and decodes: the numbers, without the networks."""

from dataclasses import dataclass


@dataclass(frozen=True)
class Training:
    """How persons become targets and errors become losses.

    Attributes:
        center_radius: of the positive region, in strides.
        size_ranges: upper ends of the levels' box sizes in pixels, without the last level's.
        count_images: whether the classification loss is divided by positives plus pictures.
        focal_alpha: weight of positives in both focal losses.
        focal_gamma: their focusing exponent.
        smooth_keypoints: smooth L1, persons weighted by their keypoints, instead of L1.
        giou_smoothing: area in cells added to intersection and union of boxes.
        heatmap_one_per_cell: one keypoint type per heatmap cell.
        heatmap_weight: of the heatmap loss.
    """

    center_radius: float = 1.5
    size_ranges: tuple[float, ...] = (64, 128, 256, 512)
    count_images: bool = False
    focal_alpha: float = 0.25
    focal_gamma: float = 2.0
    smooth_keypoints: bool = False
    giou_smoothing: float = 1.0
    heatmap_one_per_cell: bool = False
    heatmap_weight: float = 4.0


@dataclass(frozen=True)
class Decoding:
    """How dense predictions become detections.

    Attributes:
        score_thresh: least class probability of a candidate.
        topk_per_level: candidates per level.
        nms_thresh: IoU above which the lesser of two boxes goes.
        limit: detections per picture.
    """

    score_thresh: float = 0.05
    topk_per_level: int = 1000
    nms_thresh: float = 0.5
    limit: int = 100
