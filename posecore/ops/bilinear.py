"""Bilinear interpolation in plain torch, equal to that of the kernels in ``csrc/bilinear.h``."""

from collections.abc import Callable

from torch import Tensor


def bilinear(
    read: Callable[[Tensor, Tensor], Tensor],
    x: Tensor,
    y: Tensor,
    height: int | Tensor,
    width: int | Tensor,
) -> Tensor:
    """Interpolates a map between the centers of its cells; cells outside the map count as zero.

    Points are in cells: the center of the cell in row i and column j is (j + 0.5, i + 0.5). Points that are
    infinite or NaN are outside, and have no gradient.

    Args:
        read: takes rows and columns of cells, int64 and shaped as ``x``, and returns their values with
            channels as the last axis, (*, C).
        x: (*) points.
        y: (*) points.
        height: of the map; (*) where points are on maps of different sizes.
        width: likewise.

    Returns:
        (*, C).
    """
    finite = x.isfinite() & y.isfinite()
    x, y = (axis.where(finite, -1) - 0.5 for axis in (x, y))  # now integers at the centers of cells
    left, top = x.floor(), y.floor()
    to_right, to_bottom = x - left, y - top

    def corner(column: Tensor, row: Tensor, weight: Tensor) -> Tensor:
        inside = (column >= 0) & (column < width) & (row >= 0) & (row < height)
        values = read(row.where(inside, 0).long(), column.where(inside, 0).long())
        return (weight[..., None] * values).where(inside[..., None], 0)

    return (
        corner(left, top, (1 - to_right) * (1 - to_bottom))
        + corner(left + 1, top, to_right * (1 - to_bottom))
        + corner(left, top + 1, (1 - to_right) * to_bottom)
        + corner(left + 1, top + 1, to_right * to_bottom)
    )
