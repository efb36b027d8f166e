"""Where offsets are trained: in the cells around each keypoint, which are to point at it.

Letters: N images, G persons of one image, K keypoint types, S supervised (image, type, cell) triples, H and W
the size of the offset map.
"""

import math
from dataclasses import dataclass

import torch
from torch import Tensor

from posecore.structures.heatmaps import cell_centers, nearest_cells


@dataclass(frozen=True)
class Supervised:
    """What the offset map is to say, and where.

    Attributes:
        images: (S,) int64.
        types: (S,) int64, which keypoint.
        cells: (S,) int64, row * W + column.
        offsets: (S, 2), pixels.
    """

    images: Tensor
    types: Tensor
    cells: Tensor
    offsets: Tensor

    def __len__(self) -> int:
        return len(self.cells)


def disk_targets(people: list[Tensor], size: tuple[int, int], stride: int, radius: float) -> Supervised:
    """The cells whose centers are within a disk around each labeled keypoint (section 3.3).

    Args:
        people: per image (G, K, 3) in pixels, finite.
        size: (H, W).
        stride: pixels per cell.
        radius: of the disk, in cells; from sqrt(1/2) on it holds a cell's center wherever the keypoint is.
    """
    if radius < math.sqrt(0.5):
        raise ValueError(
            f"MODEL.INSPOSE.DISK_RADIUS must be at least {math.sqrt(0.5):.2f} cells, so that every keypoint "
            f"trains the cell that it lies in; it is {radius}"
        )
    keypoints, images = joined(people)
    cells, on_map = window(keypoints, size, stride, reach=math.ceil(radius))
    offsets = keypoints[:, :, None, :2] - cell_centers(cells, size[1], stride)
    distances = offsets.square().sum(dim=-1)
    supervised = on_map & (distances <= (radius * stride) ** 2) & (keypoints[..., 2:] > 0)
    return nearest(images, cells, offsets, distances, supervised)


def joined(people: list[Tensor]) -> tuple[Tensor, Tensor]:
    """Per image (G, K, 3) -> those of all images one after the other, and the image of each person."""
    counts = torch.tensor([len(persons) for persons in people], device=people[0].device)
    return torch.cat(people), torch.arange(len(people), device=counts.device).repeat_interleave(counts)


def window(keypoints: Tensor, size: tuple[int, int], stride: int, reach: int) -> tuple[Tensor, Tensor]:
    """The square of cells around each keypoint's own.

    Args:
        keypoints: (G, K, 3), finite.
        size: (H, W).
        stride: pixels per cell.
        reach: cells to each side.

    Returns:
        (G, K, (2 * reach + 1)^2) int64 cells, row * W + column, row by row; and whether they are on the map.
    """
    height, width = size
    own = nearest_cells(keypoints, size, stride)
    around = torch.arange(-reach, reach + 1, device=keypoints.device)
    rows = own.rows[..., None, None] + around[:, None]
    columns = own.columns[..., None, None] + around
    on_map = (rows >= 0) & (rows < height) & (columns >= 0) & (columns < width)
    return (rows * width + columns).flatten(2), on_map.flatten(2)


def nearest(
    images: Tensor, cells: Tensor, offsets: Tensor, distances: Tensor, supervised: Tensor
) -> Supervised:
    """Cells that several persons' keypoints of one type claim go to the nearest one, of equals to the first.

    Args:
        images: (G,) the image of each person.
        cells: (G, K, n) that its keypoints claim.
        offsets: (G, K, n, 2) what they would have there.
        distances: (G, K, n) by which the nearest is found.
        supervised: (G, K, n) bool, which of them count.
    """
    persons, types, _ = supervised.nonzero(as_tuple=True)
    owners, cells, offsets = images[persons], cells[supervised], offsets[supervised]
    order = distances[supervised].argsort(stable=True)
    for key in (cells, types, owners):  # the last one sorted by comes first
        order = order[key[order].argsort(stable=True)]
    places = torch.stack([owners, types, cells], dim=1)[order]
    first = torch.ones(len(order), dtype=torch.bool, device=order.device)
    first[1:] = (places[1:] != places[:-1]).any(dim=1)
    kept = order[first]
    return Supervised(owners[kept], types[kept], cells[kept], offsets[kept])


def offset_errors(offsets: Tensor, ground_truth: Supervised, stride: int) -> Tensor:
    """(S,) absolute error in cells, the mean of x and y, of (N, K, 2, H, W) offsets in pixels."""
    found = offsets.flatten(3)[ground_truth.images, ground_truth.types, :, ground_truth.cells]
    return ((found - ground_truth.offsets) / stride).abs().mean(dim=1)
