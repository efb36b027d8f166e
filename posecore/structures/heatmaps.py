"""Keypoints as cells of a map and back: the only place that converts between pixels and cells.

A keypoint lies in cell (floor(x / stride), floor(y / stride)): the one whose center is nearest, since
cell (row i, column j) covers [j, j + 1) * stride by [i, i + 1) * stride.
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
        inside: (..., K) bool, whether the keypoint is labeled and on the map; if not, its column and row are
            meaningless.
    """

    columns: Tensor
    rows: Tensor
    inside: Tensor


def keypoint_cells(keypoints: Tensor, size: tuple[int, int], stride: int) -> Cells:
    """The cells of keypoints.

    Args:
        keypoints: (..., K, 3) x, y in continuous pixels and v; v = 0 is not labeled.
        size: (H, W) of the map.
        stride: pixels per cell.
    """
    columns = (keypoints[..., 0] / stride).floor().long()
    rows = (keypoints[..., 1] / stride).floor().long()
    height, width = size
    inside = (columns >= 0) & (columns < width) & (rows >= 0) & (rows < height) & (keypoints[..., 2] > 0)
    return Cells(columns, rows, inside)


def nearest_cells(keypoints: Tensor, size: tuple[int, int], stride: int) -> Cells:
    """As :func:`keypoint_cells`, but labeled keypoints outside the map get the nearest cell on it.

    This includes keypoints on the right or lower border of the image. So all labeled keypoints are inside,
    and all cells are on the map. Keypoints must be finite.
    """
    cells = keypoint_cells(keypoints, size, stride)
    height, width = size
    return Cells(cells.columns.clamp(0, width - 1), cells.rows.clamp(0, height - 1), keypoints[..., 2] > 0)


def gaussian_heatmaps(
    cells: Cells, size: tuple[int, int], sigmas: Tensor | float, reach: Tensor | int
) -> Tensor:
    """Heatmaps with a Gaussian at the cell of each keypoint of one image; the maximum over its persons.

    Args:
        cells: of G persons, (G, K) each.
        size: (H, W) of the maps.
        sigmas: standard deviation in cells, a number for all persons or (G, 1).
        reach: distance in cells, horizontally or vertically, beyond which a Gaussian is zero; as ``sigmas``.

    Returns:
        (K, H, W) float32, 1 at the cells of keypoints.
    """
    columns = _profiles(cells.columns, size[1], sigmas, reach) * cells.inside[..., None]
    rows = _profiles(cells.rows, size[0], sigmas, reach)
    heatmaps = columns.new_zeros(cells.columns.shape[1], *size)
    # A loop over persons, because all at once would need a map for each person and keypoint.
    for column, row in zip(columns, rows, strict=True):
        heatmaps = torch.maximum(heatmaps, row[:, :, None] * column[:, None])
    return heatmaps


def _profiles(centers: Tensor, length: int, sigmas: Tensor | float, reach: Tensor | int) -> Tensor:
    """(G, K) cells -> (G, K, length)."""
    distance = torch.arange(length, device=centers.device) - centers[..., None]
    if isinstance(sigmas, Tensor):
        sigmas = sigmas[..., None]
    if isinstance(reach, Tensor):
        reach = reach[..., None]
    return torch.exp(-distance.square() / (2 * sigmas**2)) * (distance.abs() <= reach)


def cell_cross_entropy(logits: Tensor, keypoints: Tensor, stride: int) -> Tensor:
    """Cross-entropy between a softmax over all cells and the cell of each keypoint (one-hot heatmaps).

    The cells are those of :func:`nearest_cells`.

    Args:
        logits: (Q, K, H, W), one map per keypoint.
        keypoints: (Q, K, 3) in pixels, finite.
        stride: pixels per cell.

    Returns:
        (Q, K); values of keypoints that are not labeled are meaningless.
    """
    height, width = logits.shape[2:]
    cells = nearest_cells(keypoints, (height, width), stride)
    return cross_entropy_at(logits, cells.rows * width + cells.columns)


def cross_entropy_at(logits: Tensor, index: Tensor) -> Tensor:
    """(Q, K, H, W) logits and (Q, K) cells, row * W + column -> (Q, K)."""
    losses = F.cross_entropy(logits.flatten(2).flatten(0, 1), index.flatten(), reduction="none")
    return losses.unflatten(0, index.shape)


def cell_centers(cells: Tensor, width: int, stride: int) -> Tensor:
    """The centers of cells in pixels: (...,) int64, row * ``width`` + column -> (..., 2)."""
    return (torch.stack([cells % width, cells // width], dim=-1) + 0.5) * stride


def refined_points(cells: Tensor, offsets: Tensor, stride: int) -> Tensor:
    """Centers of cells, shifted by predicted offsets.

    Args:
        cells: (M, K) int64, row * W + column.
        offsets: (K, 2, H, W) of one image, from the center of each cell, in pixels.
        stride: pixels per cell.

    Returns:
        (M, K, 2), pixels.
    """
    width = offsets.shape[3]
    each = torch.arange(cells.shape[1], device=cells.device)
    return cell_centers(cells, width, stride) + offsets[each, :, cells // width, cells % width]


def only_labeled(keypoints: Tensor) -> Tensor:
    """(..., K, 3) with zeros for keypoints that are not labeled, whose values may be NaN."""
    return torch.where(keypoints[..., 2:] > 0, keypoints, 0)
