"""The losses of FCOS, as functions of tensors, and the counts they are divided by."""

from collections.abc import Mapping

import torch.nn.functional as F
from torch import Tensor
from torchvision.ops import sigmoid_focal_loss

from posecore.modeling.fcos.ltrb import generalized_iou
from posecore.modeling.fcos.settings import Training
from posecore.modeling.fcos.targets import Targets


def classification_loss(
    logits: Tensor, positive: Tensor, normalizer: Tensor, *, alpha: float, gamma: float
) -> Tensor:
    """Focal loss over all locations.

    Args:
        logits: (N, R, 1) person logits.
        positive: (N, R) bool.
        normalizer: scalar.
        alpha: weight of positives; negatives weigh 1 - alpha.
        gamma: focusing exponent.
    """
    targets = positive[..., None].to(logits.dtype)
    return sigmoid_focal_loss(logits, targets, alpha=alpha, gamma=gamma, reduction="sum") / normalizer


def centerness_loss(logits: Tensor, targets: Tensor, normalizer: Tensor) -> Tensor:
    """Binary cross-entropy of (P,) logits at positive locations against their centerness."""
    return F.binary_cross_entropy_with_logits(logits, targets, reduction="sum") / normalizer


def box_loss(
    ltrb: Tensor, targets: Tensor, weights: Tensor, normalizer: Tensor, *, smoothing: float
) -> Tensor:
    """Generalized-IoU loss of (P, 4) distances against (P, 4) target distances, weighted by (P,)."""
    return ((1 - generalized_iou(ltrb, targets, smoothing)) * weights).sum() / normalizer


def detection_totals(targets: Targets, how: Training) -> dict[str, Tensor | float]:
    """What the losses of :func:`detection_losses` are divided by, of this process alone."""
    num_images = len(targets.positive)
    return {
        "loss_cls": len(targets.positives) + how.count_images * num_images,
        "loss_centerness": len(targets.positives),
        "loss_box": targets.centerness.sum(),
    }


def detection_losses(
    maps: Mapping[str, Tensor], targets: Targets, normalizers: Mapping[str, Tensor], how: Training
) -> dict[str, Tensor]:
    """FCOS's losses of what is predicted: loss_cls; with such maps, loss_centerness and loss_box.

    Args:
        maps: "cls" (N, R, 1), "centerness" (N, R, 1) and "ltrb" (N, R, 4), cells before the ReLU.
        targets: of the same batch.
        normalizers: name of the loss -> scalar.
        how: weights and exponents.
    """
    positives = targets.positives
    at = positives.queries.images, positives.queries.index
    losses = {
        "loss_cls": classification_loss(
            maps["cls"],
            targets.positive,
            normalizers["loss_cls"],
            alpha=how.focal_alpha,
            gamma=how.focal_gamma,
        )
    }
    if "centerness" in maps:
        losses["loss_centerness"] = centerness_loss(
            maps["centerness"][at][:, 0], targets.centerness, normalizers["loss_centerness"]
        )
    if "ltrb" in maps:
        losses["loss_box"] = box_loss(
            F.relu(maps["ltrb"][at]),
            targets.ltrb / positives.strides[:, None],
            targets.centerness,
            normalizers["loss_box"],
            smoothing=how.giou_smoothing,
        )
    return losses
