"""Keypoints as cells of a map: the one owner of the rule from pixels to cells.

A keypoint lies in cell (floor(x / stride), floor(y / stride)): the one whose centre is nearest, since
cell (row i, column j) covers [j, j + 1) * stride by [i, i + 1) * stride.
"""

from dataclasses import dataclass

from torch import Tensor


@dataclass(frozen=True)
class Cells:
    """Where keypoints lie on a map.

    Attributes:
        columns: (..., K) int64.
        rows: (..., K) int64.
        inside: (..., K) bool, labelled and on the map; elsewhere columns and rows mean nothing.
    """

    columns: Tensor
    rows: Tensor
    inside: Tensor


def keypoint_cells(keypoints: Tensor, size: tuple[int, int], stride: int) -> Cells:
    """The cells of keypoints.

    Args:
        keypoints: (..., K, 3) x, y in continuous pixels and v; v = 0 is not labelled.
        size: (H, W) of the map.
        stride: pixels per cell.
    """
    columns = (keypoints[..., 0] / stride).floor().long()
    rows = (keypoints[..., 1] / stride).floor().long()
    height, width = size
    inside = (columns >= 0) & (columns < width) & (rows >= 0) & (rows < height) & (keypoints[..., 2] > 0)
    return Cells(columns, rows, inside)
