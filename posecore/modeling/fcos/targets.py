"""The targets of FCOS: each location is assigned to a person or to the background (:func:`make_targets`).

One index of the matched person is computed per location; all targets are gathered with it.

Source: FCOS (arXiv 2006.09214), section 3.1.

Letters: N images, L levels, R locations, G persons of one image, P positive locations, K keypoints. A box as
ltrb is given by the four distances from a point to its left, top, right and bottom sides.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from detectron2.structures import Instances
from torch import Tensor

from posecore.modeling.fcos.locations import Locations, SelectedLocations
from posecore.structures.instances import keypoint_tensors

BACKGROUND = -1


@dataclass(frozen=True)
class Positives:
    """The P positive locations of a batch, sorted by image, and the persons that they are assigned to.

    Attributes:
        locations: the positive locations.
        points: (P, 2) centers of the locations, in pixels.
        strides: (P,) strides of the locations.
        persons: (P,) int64 index into the persons of the whole batch.
        boxes: (P, 4) boxes of the persons, corners in pixels.
        keypoints: (P, K, 3) keypoints of the persons, in pixels.
    """

    locations: SelectedLocations
    points: Tensor
    strides: Tensor
    persons: Tensor
    boxes: Tensor
    keypoints: Tensor

    def __len__(self) -> int:
        return len(self.locations)


@dataclass(frozen=True)
class DetectionTargets:
    """The targets of the dense predictions.

    Attributes:
        is_positive: (N, R) bool, whether a location is assigned to a person.
        positives: the ground truth at the P positive locations.
        ltrb: (P, 4) distances to the sides of the person's box, in pixels.
        centerness: (P,).
    """

    is_positive: Tensor
    positives: Positives
    ltrb: Tensor
    centerness: Tensor


def make_targets(
    locations: Locations,
    targets: list[Instances],
    num_keypoints: int,
    *,
    radius: float,
    size_ranges: Sequence[float] | None,
) -> DetectionTargets:
    """Assigns the locations to the persons of each image.

    Args:
        locations: the R locations.
        targets: the persons of each image: gt_boxes, and gt_keypoints unless there are none.
        num_keypoints: K.
        radius, size_ranges: see :func:`assign`.
    """
    matched = torch.stack(
        [
            assign(locations, target.gt_boxes.tensor, radius=radius, size_ranges=size_ranges)
            for target in targets
        ]
    )
    positives = gather_positives(matched, locations, targets, num_keypoints)
    ltrb = box_to_ltrb(positives.points, positives.boxes)
    return DetectionTargets(matched != BACKGROUND, positives, ltrb, centerness(ltrb))


def assign(
    locations: Locations,
    boxes: Tensor,
    *,
    radius: float,
    size_ranges: Sequence[float] | None,
    inside_box: bool = True,
) -> Tensor:
    """Assigns the locations to the boxes of one image.

    A location is positive if it lies strictly inside the center region of a box (center plus or minus
    ``radius`` strides) and the size of the box is in the range of the location's level. If there are several
    such boxes, the smallest is taken, and of equally small ones the first.

    Args:
        locations: the R locations.
        boxes: (G, 4) corners x0, y0, x1, y1 in pixels.
        radius: half the side of the center region, in strides of the location's level.
        size_ranges: largest size (largest distance from the location to a side, in pixels) of each level but
            the last; both ends belong to the range of a level. None assigns every size to every level.
        inside_box: whether a positive location must also lie strictly inside the box.

    Returns:
        (R,) int64 index of the matched box, -1 for background.

    Raises:
        ValueError: the number of size ranges does not fit the number of levels.

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
    if inside_box:
        candidates &= ltrb.amin(dim=-1) > 0
    if size_ranges is not None:
        low, high = _level_ranges(size_ranges, locations)
        size = ltrb.amax(dim=-1)
        candidates &= (size >= low[:, None]) & (size <= high[:, None])

    # Ranks are distinct, so the smallest is unique on every device, even for boxes of equal area.
    area = (boxes[:, 2] - boxes[:, 0]) * (boxes[:, 3] - boxes[:, 1])
    order = area.argsort(stable=True)
    rank = torch.empty_like(order).scatter_(0, order, torch.arange(len(order), device=order.device))
    best = torch.where(candidates, rank, len(order)).amin(dim=1)
    return torch.cat([order, order.new_tensor([BACKGROUND])])[best]


def _level_ranges(size_ranges: Sequence[float], locations: Locations) -> tuple[Tensor, Tensor]:
    """(R,) smallest and (R,) largest size of the level of each location."""
    if len(size_ranges) != len(locations.sizes) - 1:
        raise ValueError(
            f"MODEL.FCOS.SIZE_RANGES must have {len(locations.sizes) - 1} values for {len(locations.sizes)} "
            f"levels, not {len(size_ranges)}"
        )
    low = torch.tensor([-1.0, *size_ranges], device=locations.points.device)
    high = torch.tensor([*size_ranges, float("inf")], device=locations.points.device)
    return low[locations.levels], high[locations.levels]


def gather_positives(
    matched: Tensor, locations: Locations, targets: list[Instances], num_keypoints: int
) -> Positives:
    """The ground truth at every matched location.

    Args:
        matched: (N, R) index of the person within its image, -1 for background.
        locations: the R locations.
        targets: the persons of each image: gt_boxes, and gt_keypoints unless there are none.
        num_keypoints: K.
    """
    images, index = (matched != BACKGROUND).nonzero(as_tuple=True)
    first = torch.tensor([0] + [len(target) for target in targets], device=matched.device).cumsum(0)
    persons = matched[images, index] + first[images]
    boxes = torch.cat([target.gt_boxes.tensor for target in targets])
    keypoints = torch.cat(keypoint_tensors(targets, num_keypoints))
    return Positives(
        locations=SelectedLocations(images, index),
        points=locations.points[index],
        strides=locations.strides[index],
        persons=persons,
        boxes=boxes[persons],
        keypoints=keypoints[persons],
    )


def box_to_ltrb(points: Tensor, boxes: Tensor) -> Tensor:
    """(..., 2) points and (..., 4) corners -> (..., 4) ltrb, negative where the point is outside the box."""
    return torch.cat([points - boxes[..., :2], boxes[..., 2:] - points], dim=-1)


def centerness(ltrb: Tensor) -> Tensor:
    """How close a point is to the center of its box: 1 at the center, 0 on a side.

    Args:
        ltrb: (..., 4) positive distances.

    Returns:
        (...,) sqrt(min(l, r) / max(l, r) * min(t, b) / max(t, b)).

    Source: FCOS (arXiv 2006.09214), equation 3.
    """
    horizontal, vertical = ltrb[..., 0::2], ltrb[..., 1::2]
    ratio = (horizontal.amin(-1) / horizontal.amax(-1)) * (vertical.amin(-1) / vertical.amax(-1))
    return ratio.sqrt()
