"""The disk offsets of InsPose: the branch :class:`DiskOffsets`, which refines peaks, and its targets.

Source: InsPose (arXiv 2107.08982), section 3.3.

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
    """Predicts an offset per cell and keypoint type by three 3x3 convolutions (section 3.3).

    Args:
        in_channels: channels of the level that it reads.
        channels: channels of the first two convolutions.
        num_keypoints: K.
        norm: norm behind each of the first two convolutions.
        resize: resizes (N, 2K, H', W'), of the size of the level, to (N, 2K, H, W).
        stride: pixels per cell of the offset map.
        radius: radius in cells of the disk around a keypoint where offsets are trained.
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
        radius: float,
    ) -> None:
        super().__init__()
        self.stride = stride
        self.radius = radius
        self.tower = Tower(in_channels, channels, 2, norm)
        self.predictor = init_conv(nn.Conv2d(channels, 2 * num_keypoints, 3, padding=1))
        self.resize = resize

    def forward(self, feature: Tensor) -> Tensor:
        """A level (N, C, H', W') -> (N, K, 2, H, W) from the centers of cells to the keypoint, in pixels."""
        cells = self.resize(self.predictor(self.tower(feature)))
        return cells.unflatten(1, (-1, 2)) * self.stride


@dataclass(frozen=True)
class SupervisedCells:
    """The targets of the offset map, at the cells where it is trained.

    Attributes:
        images: (S,) int64 index of the image.
        types: (S,) int64 index of the keypoint type.
        cells: (S,) int64 cell, row * W + column.
        offsets: (S, 2) offset from the center of the cell to the keypoint, in pixels.
    """

    images: Tensor
    types: Tensor
    cells: Tensor
    offsets: Tensor

    def __len__(self) -> int:
        return len(self.cells)


def disk_targets(people: list[Tensor], size: tuple[int, int], stride: int, radius: float) -> SupervisedCells:
    """The targets at all cells whose centers lie in a disk around a labeled keypoint (section 3.3).

    A cell in the disks of several persons' keypoints of one type has the nearest one as its target.

    Args:
        people: (G, K, 3) keypoints of each image, in pixels, finite.
        size: (H, W) of the offset map.
        stride: pixels per cell.
        radius: radius of the disk in cells, at least sqrt(1/2), so that every disk contains the center of a
            cell.

    Raises:
        ValueError: the radius is smaller.
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
    """(G, K, 3) of each image -> the persons of all images in one tensor, and the image index of each."""
    counts = torch.tensor([len(persons) for persons in people], device=people[0].device)
    return torch.cat(people), torch.arange(len(people), device=counts.device).repeat_interleave(counts)


def window(keypoints: Tensor, size: tuple[int, int], stride: int, reach: int) -> tuple[Tensor, Tensor]:
    """The square of cells around the cell of each keypoint.

    Args:
        keypoints: (G, K, 3) in pixels, finite.
        size: (H, W) of the map.
        stride: pixels per cell.
        reach: number of cells to each side.

    Returns:
        (G, K, (2 * reach + 1)^2) int64 cells, row * W + column, row by row; and whether each is on the map.
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
    """Makes the targets of cells that may be near the keypoints of several persons.

    A cell keeps, for each keypoint type, the target of the nearest keypoint, and of equally near ones the
    first.

    Args:
        images: (G,) int64 index of the image of each person.
        cells: (G, K, n) cells around each keypoint.
        offsets: (G, K, n, 2) target offsets in these cells.
        distances: (G, K, n) distances that decide which keypoint is nearest.
        supervised: (G, K, n) bool, which of the cells are trained.
    """
    persons, types, _ = supervised.nonzero(as_tuple=True)
    images, cells, offsets = images[persons], cells[supervised], offsets[supervised]
    order = distances[supervised].argsort(stable=True)
    for key in (cells, types, images):  # stable sorts, so the last key decides first
        order = order[key[order].argsort(stable=True)]
    positions = torch.stack([images, types, cells], dim=1)[order]
    first = torch.ones(len(order), dtype=torch.bool, device=order.device)
    first[1:] = (positions[1:] != positions[:-1]).any(dim=1)
    kept = order[first]
    return SupervisedCells(images[kept], types[kept], cells[kept], offsets[kept])


def offset_errors(offsets: Tensor, targets: SupervisedCells, stride: int) -> Tensor:
    """(S,) absolute errors in cells, averaged over x and y, of (N, K, 2, H, W) offsets in pixels."""
    predicted = offsets.flatten(3)[targets.images, targets.types, :, targets.cells]
    return ((predicted - targets.offsets) / stride).abs().mean(dim=1)
