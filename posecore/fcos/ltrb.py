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
