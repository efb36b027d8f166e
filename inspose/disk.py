"""Disk offsets of InsPose: the branch that refines peaks, and its targets in disks around the keypoints.

Letters: N images, C channels, G persons of one image, K keypoint types, S supervised (image, type, cell)
triples, H and W the size of the offset map.
"""

import math
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from posecore.layers.tower import Tower, init_conv
from posecore.structures.heatmaps import cell_centers, nearest_cells


class DiskOffsets(nn.Module):
    """Three 3x3 convolutions to an offset per cell and keypoint type (section 3.3).

    Args:
        in_channels: channels of the level.
        channels: channels of the first two convolutions.
        num_keypoints: K.
        norm: norm behind each of these two.
        resize: from (N, 2K, H', W') at the size of the level to (N, 2K, H, W).
        stride: pixels per cell of the offset map.
    """

    def __init__(
        self,
        in_channels: int,
        channels: int,
        num_keypoints: int,
        *,
        norm: str,
        resize: nn.Module,
        stride: int,
    ) -> None:
        super().__init__()
        self.stride = stride
        self.tower = Tower(in_channels, channels, 2, norm)
        self.predictor = init_conv(nn.Conv2d(channels, 2 * num_keypoints, 3, padding=1))
        self.resize = resize

    def forward(self, feature: Tensor) -> Tensor:
        """(N, C, H', W') -> (N, K, 2, H, W) from the center of each cell to the keypoint, in pixels."""
        cells = self.resize(self.predictor(self.tower(feature)))
        return cells.unflatten(1, (-1, 2)) * self.stride


@dataclass(frozen=True)
class SupervisedCells:
    """The targets of the offset map, at the cells where it is trained.

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


def disk_targets(people: list[Tensor], size: tuple[int, int], stride: int, radius: float) -> SupervisedCells:
    """The cells whose centers are within a disk around each labeled keypoint (section 3.3).

    Args:
        people: per image (G, K, 3) in pixels, finite.
        size: (H, W).
        stride: pixels per cell.
        radius: of the disk, in cells; from sqrt(1/2) on it holds a cell's center wherever the keypoint is.

    Raises:
        ValueError: a smaller radius.
    """
    if radius < math.sqrt(0.5):
        raise ValueError(
            f"MODEL.INSPOSE.DISK_RADIUS must be at least {math.sqrt(0.5):.2f} cells, so that every keypoint "
            f"trains the cell that it lies in, not {radius}"
        )
    keypoints, images = join_people(people)
    cells, on_map = window(keypoints, size, stride, reach=math.ceil(radius))
    offsets = keypoints[:, :, None, :2] - cell_centers(cells, size[1], stride)
    distances = offsets.square().sum(dim=-1)
    supervised = on_map & (distances <= (radius * stride) ** 2) & (keypoints[..., 2:] > 0)
    return keep_nearest(images, cells, offsets, distances, supervised)


def join_people(people: list[Tensor]) -> tuple[Tensor, Tensor]:
    """Per image (G, K, 3) -> the persons of all images one after the other, and the image of each."""
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


def keep_nearest(
    images: Tensor, cells: Tensor, offsets: Tensor, distances: Tensor, supervised: Tensor
) -> SupervisedCells:
    """Gives a cell that keypoints of one type of several persons claim to the nearest one.

    Of equally near ones the first is taken.

    Args:
        images: (G,) the image of each person.
        cells: (G, K, n) that its keypoints claim.
        offsets: (G, K, n, 2) their targets there.
        distances: (G, K, n) by which the nearest is found.
        supervised: (G, K, n) bool, which of them count.
    """
    persons, types, _ = supervised.nonzero(as_tuple=True)
    owners, cells, offsets = images[persons], cells[supervised], offsets[supervised]
    order = distances[supervised].argsort(stable=True)
    for key in (cells, types, owners):  # the last key of stable sorts is the first of the order
        order = order[key[order].argsort(stable=True)]
    places = torch.stack([owners, types, cells], dim=1)[order]
    first = torch.ones(len(order), dtype=torch.bool, device=order.device)
    first[1:] = (places[1:] != places[:-1]).any(dim=1)
    kept = order[first]
    return SupervisedCells(owners[kept], types[kept], cells[kept], offsets[kept])


def offset_errors(offsets: Tensor, targets: SupervisedCells, stride: int) -> Tensor:
    """(S,) absolute error in cells, the mean of x and y, of (N, K, 2, H, W) offsets in pixels."""
    found = offsets.flatten(3)[targets.images, targets.types, :, targets.cells]
    return ((found - targets.offsets) / stride).abs().mean(dim=1)
