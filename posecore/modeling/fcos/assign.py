"""Which person each location is responsible for: one index per location, everything else is a gather."""

from collections.abc import Sequence

import torch
from torch import Tensor

from posecore.modeling.fcos.locations import Locations
from posecore.modeling.fcos.ltrb import box_to_ltrb

BACKGROUND = -1


def assign(
    locations: Locations,
    boxes: Tensor,
    *,
    radius: float,
    ranges: Sequence[float] | None,
    cut_by_box: bool = True,
) -> Tensor:
    """Matches locations to the boxes of one image.

    A location is positive if it lies strictly inside the center region of a box (center plus or minus
    ``radius`` strides) and the box has the size its level looks for. Of several boxes the smallest
    wins, of equal ones the first.

    Args:
        locations: the R locations.
        boxes: (G, 4) corners x0, y0, x1, y1 in pixels.
        radius: half the side of the center region, in strides of the location's level.
        ranges: upper ends of the sizes (largest distance to a side, in pixels) per level, without the
            last level's; both ends belong to a level's range. None: every level takes every size.
        cut_by_box: whether the center region ends where the box ends.

    Returns:
        (R,) int64 index of the matched box, -1 for background.

    Source: FCOS (arXiv 2006.09214), section 3.1 and its center sampling.
    """
    points = locations.points
    if len(boxes) == 0:
        return torch.full((len(points),), BACKGROUND, dtype=torch.int64, device=points.device)
    ltrb = box_to_ltrb(points[:, None], boxes[None])  # (R, G, 4)

    centers = (boxes[:, :2] + boxes[:, 2:]) / 2
    reach = radius * locations.strides[:, None]
    offsets = (points[:, None] - centers[None]).abs().amax(dim=-1)
    candidates = offsets < reach
    if cut_by_box:
        candidates &= ltrb.amin(dim=-1) > 0
    if ranges is not None:
        low, high = _level_ranges(ranges, locations)
        size = ltrb.amax(dim=-1)
        candidates &= (size >= low[:, None]) & (size <= high[:, None])

    # Ranks are distinct, so the smallest is unique on every device, ties of the area included.
    area = (boxes[:, 2] - boxes[:, 0]) * (boxes[:, 3] - boxes[:, 1])
    order = area.argsort(stable=True)
    rank = torch.empty_like(order).scatter_(0, order, torch.arange(len(order), device=order.device))
    best = torch.where(candidates, rank, len(order)).amin(dim=1)
    return torch.cat([order, order.new_tensor([BACKGROUND])])[best]


def _level_ranges(ranges: Sequence[float], locations: Locations) -> tuple[Tensor, Tensor]:
    """(R,) lowest and highest size of each location's level."""
    if len(ranges) != len(locations.sizes) - 1:
        raise ValueError(
            f"{len(locations.sizes)} levels need {len(locations.sizes) - 1} size ranges "
            f"(MODEL.FCOS.SIZE_RANGES), got {len(ranges)}"
        )
    low = torch.tensor([-1.0, *ranges], device=locations.points.device)
    high = torch.tensor([*ranges, float("inf")], device=locations.points.device)
    return low[locations.levels], high[locations.levels]
