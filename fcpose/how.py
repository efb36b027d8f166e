"""How FCPose trains and decodes: the numbers, without the networks."""

from dataclasses import dataclass


@dataclass(frozen=True)
class Training:
    """How persons become targets and errors become losses.

    Attributes:
        center_radius: of the positive region, in strides.
        size_ranges: upper ends of the levels' box sizes in pixels, without the last level's.
        count_images: whether the classification loss is divided by positives plus pictures.
        focal_alpha: weight of positives in the focal loss.
        focal_gamma: its focusing exponent.
        giou_smoothing: area in cells added to intersection and union of boxes.
        max_positives: locations of a batch that train keypoints.
        auxiliary_weight: of each of the two auxiliary losses.
    """

    center_radius: float = 1.5
    size_ranges: tuple[float, ...] = (64, 128, 256, 512)
    count_images: bool = False
    focal_alpha: float = 0.25
    focal_gamma: float = 2.0
    giou_smoothing: float = 1.0
    max_positives: int = 50
    auxiliary_weight: float = 0.2


@dataclass(frozen=True)
class Decoding:
    """How dense predictions become detections.

    Attributes:
        score_thresh: least class probability of a candidate.
        topk_per_level: candidates per level.
        nms_thresh: IoU above which the lesser of two boxes goes.
        limit: detections per picture.
        keypoint_logits: a keypoint's third value is the logit of its cell, not its probability.
    """

    score_thresh: float = 0.05
    topk_per_level: int = 1000
    nms_thresh: float = 0.6
    limit: int = 100
    keypoint_logits: bool = False
