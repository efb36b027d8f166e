"""The locations of FCOS, the centers of the cells of a feature pyramid in the image, and selections of them.

:class:`Locations` holds those of all levels, :class:`SelectedLocations` some of a batch.

Letters: N images, L levels, R = sum of H_l * W_l over the levels, Q selected locations.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor


@dataclass(frozen=True)
class Locations:
    """The R locations of all levels, finest level first, row by row within a level.

    Attributes:
        points: (R, 2) centers of the cells, (x, y) in continuous pixels.
        strides: (R,) pixels per cell.
        levels: (R,) int64 index of the level.
        sizes: (height, width) of each level in cells.
        level_strides: pixels per cell of each level.
    """

    points: Tensor
    strides: Tensor
    levels: Tensor
    sizes: tuple[tuple[int, int], ...]
    level_strides: tuple[int, ...]

    def __len__(self) -> int:
        return len(self.points)

    @property
    def starts(self) -> tuple[int, ...]:
        """The index of the first location of each level."""
        starts = [0]
        for height, width in self.sizes[:-1]:
            starts.append(starts[-1] + height * width)
        return tuple(starts)


def make_locations(
    sizes: Sequence[tuple[int, int]], strides: Sequence[int], device: torch.device | str = "cpu"
) -> Locations:
    """The locations of levels with the given (height, width) and stride.

    The center of cell (row i, column j) is at ((j + 0.5) * stride, (i + 0.5) * stride).
    """
    points, strides_of_cells, levels_of_cells = [], [], []
    for level, ((height, width), stride) in enumerate(zip(sizes, strides, strict=True)):
        y = (torch.arange(height, device=device) + 0.5) * stride
        x = (torch.arange(width, device=device) + 0.5) * stride
        grid_y, grid_x = torch.meshgrid(y, x, indexing="ij")
        points.append(torch.stack([grid_x, grid_y], dim=-1).reshape(-1, 2))
        strides_of_cells.append(torch.full((height * width,), float(stride), device=device))
        levels_of_cells.append(torch.full((height * width,), level, device=device, dtype=torch.int64))
    return Locations(
        torch.cat(points),
        torch.cat(strides_of_cells),
        torch.cat(levels_of_cells),
        tuple((height, width) for height, width in sizes),
        tuple(strides),
    )


@dataclass(frozen=True)
class SelectedLocations:
    """Q selected locations of a batch: the positive ones in training, the candidates in inference.

    Predictions that depend on one location each are computed at these instead of at all N * R locations.

    Attributes:
        images: (Q,) int64 index of the image.
        index: (Q,) int64 index into the R locations.
    """

    images: Tensor
    index: Tensor

    def __len__(self) -> int:
        return len(self.index)

    def __getitem__(self, rows: Tensor | slice) -> "SelectedLocations":
        """The locations at some positions of this selection."""
        return SelectedLocations(self.images[rows], self.index[rows])

    def by_image(self, num_images: int) -> list[slice]:
        """The positions of each image's locations in this selection, which must be sorted by image."""
        ends = self.images.bincount(minlength=num_images).cumsum(0).tolist()
        return [slice(start, end) for start, end in zip([0, *ends], ends, strict=False)]

    @classmethod
    def everywhere(
        cls, num_images: int, num_locations: int, device: torch.device | str = "cpu"
    ) -> "SelectedLocations":
        """All N * R locations of a batch, sorted by image."""
        images = torch.arange(num_images, device=device).repeat_interleave(num_locations)
        return cls(images, torch.arange(num_locations, device=device).repeat(num_images))
