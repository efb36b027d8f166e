"""The losses of FCOS: focal loss of classes, cross-entropy of centerness, and GIoU loss of boxes.

:func:`detection_loss_terms` makes the loss terms of a batch.

Letters: N images, R locations, P positive locations.
"""

from collections.abc import Callable, Mapping

import torch
import torch.nn.functional as F
from torch import Tensor
from torchvision.ops import sigmoid_focal_loss

from posecore.modeling.fcos.targets import DetectionTargets
from posecore.modeling.losses import LossTerm

# From the number of positive locations and the number of images to the count of the classification loss.
ClassificationCount = Callable[[int, int], int]


def count_positives(num_positives: int, num_images: int) -> int:
    """The number of positive locations, as in the papers."""
    return num_positives


def count_positives_and_images(num_positives: int, num_images: int) -> int:
    """The number of positive locations plus the number of images, as in DirectPose's official code."""
    return num_positives + num_images


# The values of MODEL.FCOS.CLS_NORMALIZER.
CLASSIFICATION_COUNTS: dict[str, ClassificationCount] = {
    "positives": count_positives,
    "positives_and_images": count_positives_and_images,
}


def detection_loss_terms(
    maps: Mapping[str, Tensor],
    targets: DetectionTargets,
    *,
    classification_count: ClassificationCount,
    focal_alpha: float,
    focal_gamma: float,
    giou_smoothing: float,
) -> dict[str, LossTerm]:
    """The loss terms of the predicted maps: loss_cls; also loss_centerness and loss_box if predicted.

    Args:
        maps: "cls" (N, R, 1), and optionally "centerness" (N, R, 1) and "ltrb" (N, R, 4), in cells before the
            ReLU.
        targets: the targets of the same batch.
        classification_count: count by which the classification loss is normalized.
        focal_alpha: weight of positives in the focal loss; negatives weigh 1 - alpha.
        focal_gamma: focusing exponent of the focal loss.
        giou_smoothing: see :func:`generalized_iou`.
    """
    positives = targets.positives
    at = positives.locations.images, positives.locations.index
    terms = {
        "loss_cls": LossTerm(
            focal_loss(maps["cls"][..., 0], targets.is_positive, alpha=focal_alpha, gamma=focal_gamma),
            classification_count(len(positives), len(targets.is_positive)),
        )
    }
    if "centerness" in maps:
        terms["loss_centerness"] = LossTerm(
            centerness_loss(maps["centerness"][at][:, 0], targets.centerness), len(positives)
        )
    if "ltrb" in maps:
        cells = targets.ltrb / positives.strides[:, None]
        terms["loss_box"] = LossTerm(
            box_loss(F.relu(maps["ltrb"][at]), cells, targets.centerness, smoothing=giou_smoothing),
            targets.centerness.sum(),
        )
    return terms


def focal_loss(logits: Tensor, targets: Tensor, *, alpha: float, gamma: float) -> Tensor:
    """The sum of the focal loss of logits, with binary targets of the same shape.

    Source: Focal loss (arXiv 1708.02002), equation 5.
    """
    return sigmoid_focal_loss(logits, targets.to(logits.dtype), alpha=alpha, gamma=gamma, reduction="sum")


def centerness_loss(logits: Tensor, targets: Tensor) -> Tensor:
    """The sum of the binary cross-entropy of (P,) logits with the centerness of positive locations."""
    return F.binary_cross_entropy_with_logits(logits, targets, reduction="sum")


def box_loss(ltrb: Tensor, targets: Tensor, weights: Tensor, *, smoothing: float) -> Tensor:
    """The sum of 1 - GIoU of (P, 4) ltrb with (P, 4) target ltrb, with (P,) weights."""
    return ((1 - generalized_iou(ltrb, targets, smoothing)) * weights).sum()


def generalized_iou(ltrb: Tensor, other: Tensor, smoothing: float = 0.0) -> Tensor:
    """Generalized IoU of boxes that are given by the distances of their sides from a common point.

    Args:
        ltrb: (..., 4) distances, at least 0.
        other: (..., 4) distances of the other box.
        smoothing: area that is added to the intersection and the union before they are divided. Published
            FCOS codes add 1, so torchvision's function cannot be used here.

    Returns:
        (...,) in [-1, 1].

    Source: Generalized Intersection over Union (arXiv 1902.09630), algorithm 1.
    """
    area, other_area = _area(ltrb), _area(other)
    intersection = _area(torch.minimum(ltrb, other))
    union = area + other_area - intersection
    hull = _area(torch.maximum(ltrb, other))
    # Two boxes without area count as disjoint.
    tiny = torch.finfo(ltrb.dtype).tiny
    iou = (intersection + smoothing) / (union + smoothing).clamp(min=tiny)
    return iou - (hull - union) / hull.clamp(min=tiny)


def _area(ltrb: Tensor) -> Tensor:
    return (ltrb[..., 0] + ltrb[..., 2]) * (ltrb[..., 1] + ltrb[..., 3])
