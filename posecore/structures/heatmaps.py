"""Functions that convert keypoints in pixels to cells of a map (:class:`Cells`), and cells to pixels.

Cell (row i, column j) covers [j, j + 1) * stride by [i, i + 1) * stride pixels. So a keypoint lies in column
floor(x / stride) and row floor(y / stride), the cell whose center is nearest.

Letters: G persons of one image, K keypoints, Q or M rows of keypoints, H and W the size of a map.
"""

from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor


@dataclass(frozen=True)
class Cells:
    """The cells of keypoints on a map.

    Attributes:
        columns: (..., K) int64.
        rows: (..., K) int64.
        inside: (..., K) bool, whether the keypoint is labeled and on the map. If not, its column and row have
            no meaning.
    """

    columns: Tensor
    rows: Tensor
    inside: Tensor


def keypoint_cells(keypoints: Tensor, size: tuple[int, int], stride: int) -> Cells:
    """The cells of keypoints.

    Args:
        keypoints: (..., K, 3) x and y in continuous pixels, and v, which is 0 if a keypoint is not labeled.
        size: (H, W) of the map.
        stride: pixels per cell.
    """
    columns = (keypoints[..., 0] / stride).floor().long()
    rows = (keypoints[..., 1] / stride).floor().long()
    height, width = size
    inside = (columns >= 0) & (columns < width) & (rows >= 0) & (rows < height) & (keypoints[..., 2] > 0)
    return Cells(columns, rows, inside)


def nearest_cells(keypoints: Tensor, size: tuple[int, int], stride: int) -> Cells:
    """The cells of keypoints, where keypoints beside the map belong to the nearest outermost cell.

    Keypoints on the right or lower border of the map lie beside it. All labeled keypoints are ``inside``, and
    all cells are on the map. Arguments as in :func:`keypoint_cells`; keypoints must be finite.
    """
    cells = keypoint_cells(keypoints, size, stride)
    height, width = size
    return Cells(cells.columns.clamp(0, width - 1), cells.rows.clamp(0, height - 1), keypoints[..., 2] > 0)


def gaussian_heatmaps(
    cells: Cells, size: tuple[int, int], sigmas: Tensor | float, reach: Tensor | int
) -> Tensor:
    """Heatmaps with a Gaussian around the cell of every keypoint of one image.

    The heatmaps of the persons are merged by the maximum.

    Args:
        cells: (G, K) cells of the keypoints of G persons.
        size: (H, W) of the heatmaps.
        sigmas: standard deviation in cells: one number, or (G, 1), one per person.
        reach: distance in cells, to the side or up and down, beyond which a Gaussian is cut to zero: one
            number, or (G, 1).

    Returns:
        (K, H, W) float32, 1 in the cells of keypoints themselves.
    """
    columns = _profiles(cells.columns, size[1], sigmas, reach) * cells.inside[..., None]
    rows = _profiles(cells.rows, size[0], sigmas, reach)
    heatmaps = columns.new_zeros(cells.columns.shape[1], *size)
    # Persons are added one by one: all at once would need a map per person and keypoint.
    for column, row in zip(columns, rows, strict=True):
        heatmaps = torch.maximum(heatmaps, row[:, :, None] * column[:, None])
    return heatmaps


def _profiles(centers: Tensor, length: int, sigmas: Tensor | float, reach: Tensor | int) -> Tensor:
    """Gaussians along one axis: their centers (G, K), in cells -> (G, K, length)."""
    distance = torch.arange(length, device=centers.device) - centers[..., None]
    if isinstance(sigmas, Tensor):
        sigmas = sigmas[..., None]
    if isinstance(reach, Tensor):
        reach = reach[..., None]
    return torch.exp(-distance.square() / (2 * sigmas**2)) * (distance.abs() <= reach)


def cell_cross_entropy(logits: Tensor, keypoints: Tensor, stride: int) -> Tensor:
    """Cross-entropy of the softmax over all cells with the cell of each keypoint (a one-hot heatmap).

    The cells are those of :func:`nearest_cells`.

    Args:
        logits: (Q, K, H, W), one heatmap per keypoint.
        keypoints: (Q, K, 3) in pixels, finite.
        stride: pixels per cell.

    Returns:
        (Q, K); the value has no meaning where a keypoint is not labeled.
    """
    height, width = logits.shape[2:]
    cells = nearest_cells(keypoints, (height, width), stride)
    return cross_entropy_at(logits, cells.rows * width + cells.columns)


def cross_entropy_at(logits: Tensor, index: Tensor) -> Tensor:
    """The cross-entropy of logits (Q, K, H, W) with cells (Q, K), row * W + column -> (Q, K)."""
    losses = F.cross_entropy(logits.flatten(2).flatten(0, 1), index.flatten(), reduction="none")
    return losses.unflatten(0, index.shape)


def cell_centers(cells: Tensor, width: int, stride: int) -> Tensor:
    """(...,) int64 cells, row * ``width`` + column -> (..., 2) centers of the cells, in pixels."""
    return (torch.stack([cells % width, cells // width], dim=-1) + 0.5) * stride


def refined_points(cells: Tensor, offsets: Tensor, stride: int) -> Tensor:
    """The centers of cells, refined by the offsets at these cells.

    Args:
        cells: (M, K) int64 cells, row * W + column.
        offsets: (K, 2, H, W) of one image, from the center of each cell, in pixels.
        stride: pixels per cell.

    Returns:
        (M, K, 2) points in pixels.
    """
    width = offsets.shape[3]
    each = torch.arange(cells.shape[1], device=cells.device)
    return cell_centers(cells, width, stride) + offsets[each, :, cells // width, cells % width]


def only_labeled(keypoints: Tensor) -> Tensor:
    """(..., K, 3) keypoints, with zeros in place of unlabeled ones, which may hold NaN (0 * NaN is NaN)."""
    return torch.where(keypoints[..., 2:] > 0, keypoints, 0)
