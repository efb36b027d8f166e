"""Boxes as FCOS sees them: distances from a point to the left, top, right and bottom side (ltrb)."""

import torch
from torch import Tensor


def box_to_ltrb(points: Tensor, boxes: Tensor) -> Tensor:
    """(..., 2) points and (..., 4) corners -> (..., 4) distances, negative where the point is outside."""
    return torch.cat([points - boxes[..., :2], boxes[..., 2:] - points], dim=-1)


def ltrb_to_box(points: Tensor, ltrb: Tensor) -> Tensor:
    """(..., 2) points and (..., 4) distances -> (..., 4) corners x0, y0, x1, y1."""
    return torch.cat([points - ltrb[..., :2], points + ltrb[..., 2:]], dim=-1)


def centerness(ltrb: Tensor) -> Tensor:
    """How far a point is from the middle of its box: 1 in the middle, 0 on a side.

    Args:
        ltrb: (..., 4) positive distances.

    Returns:
        (...,) sqrt(min(l, r) / max(l, r) * min(t, b) / max(t, b)).

    Source: FCOS (arXiv 2006.09214), equation 3.
    """
    horizontal, vertical = ltrb[..., 0::2], ltrb[..., 1::2]
    ratio = (horizontal.amin(-1) / horizontal.amax(-1)) * (vertical.amin(-1) / vertical.amax(-1))
    return ratio.sqrt()


def generalized_iou(ltrb: Tensor, other: Tensor, smoothing: float = 0.0) -> Tensor:
    """Generalized IoU of boxes given by their distances from a common point.

    Args:
        ltrb: (..., 4) distances, at least 0.
        other: (..., 4).
        smoothing: area added to intersection and union before they are divided; AdelaiDet's and
            gluon-cv's FCOS add 1, which is why torchvision's function does not serve here.

    Returns:
        (...,) in [-1, 1].

    Source: Generalized Intersection over Union (arXiv 1902.09630), algorithm 1.
    """
    area, other_area = _area(ltrb), _area(other)
    intersection = _area(torch.minimum(ltrb, other))
    union = area + other_area - intersection
    hull = _area(torch.maximum(ltrb, other))
    # Two boxes without area, both at their point, count as disjoint.
    tiny = torch.finfo(ltrb.dtype).tiny
    iou = (intersection + smoothing) / (union + smoothing).clamp(min=tiny)
    return iou - (hull - union) / hull.clamp(min=tiny)


def _area(ltrb: Tensor) -> Tensor:
    return (ltrb[..., 0] + ltrb[..., 2]) * (ltrb[..., 1] + ltrb[..., 3])
