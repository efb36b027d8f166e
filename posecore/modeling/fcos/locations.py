"""Where on the image the cells of a feature pyramid look."""

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor


@dataclass(frozen=True)
class Locations:
    """The R cells of all levels, finest level first, row by row within a level.

    Attributes:
        points: (R, 2) centers of the cells, (x, y) in continuous pixels.
        strides: (R,) pixels per cell.
        levels: (R,) index of the level, int64.
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
        """Where each level begins among the R cells."""
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
    points, of_stride, of_level = [], [], []
    for level, ((height, width), stride) in enumerate(zip(sizes, strides, strict=True)):
        y = (torch.arange(height, device=device) + 0.5) * stride
        x = (torch.arange(width, device=device) + 0.5) * stride
        grid_y, grid_x = torch.meshgrid(y, x, indexing="ij")
        points.append(torch.stack([grid_x, grid_y], dim=-1).reshape(-1, 2))
        of_stride.append(torch.full((height * width,), float(stride), device=device))
        of_level.append(torch.full((height * width,), level, device=device, dtype=torch.int64))
    return Locations(
        torch.cat(points),
        torch.cat(of_stride),
        torch.cat(of_level),
        tuple((int(height), int(width)) for height, width in sizes),
        tuple(strides),
    )
