"""Keypoints as cells of a map and back: the one owner of the rule between pixels and cells.

A keypoint lies in cell (floor(x / stride), floor(y / stride)): the one whose center is nearest, since
cell (row i, column j) covers [j, j + 1) * stride by [i, i + 1) * stride.
"""

from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor


@dataclass(frozen=True)
class Cells:
    """Where keypoints lie on a map.

    Attributes:
        columns: (..., K) int64.
        rows: (..., K) int64.
        inside: (..., K) bool, labeled and on the map; elsewhere columns and rows mean nothing.
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
    """As :func:`keypoint_cells`, but labeled keypoints beside the map are in the outermost cell.

    So are those on the border of the image, where that is the border of the map. All labeled ones are
    inside, and all cells on the map; keypoints are finite.
    """
    cells = keypoint_cells(keypoints, size, stride)
    height, width = size
    return Cells(cells.columns.clamp(0, width - 1), cells.rows.clamp(0, height - 1), keypoints[..., 2] > 0)


def gaussian_heatmaps(
    cells: Cells, size: tuple[int, int], sigmas: Tensor | float, reach: Tensor | int
) -> Tensor:
    """A Gaussian around the cell of every keypoint of one image; persons are merged by the maximum.

    Args:
        cells: of G persons, (G, K) each.
        size: (H, W) of the maps.
        sigmas: standard deviation in cells, of all or (G, 1) of each person.
        reach: cells, to the side or up and down, beyond which a Gaussian is cut to zero; as ``sigmas``.

    Returns:
        (K, H, W) float32, 1 in the cells of keypoints themselves.
    """
    columns = _profiles(cells.columns, size[1], sigmas, reach) * cells.inside[..., None]
    rows = _profiles(cells.rows, size[0], sigmas, reach)
    heatmaps = columns.new_zeros(cells.columns.shape[1], *size)
    # One person after the other: all of them at once would be a map per person and keypoint.
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
    """Cross-entropy of the softmax over all cells with the cell of each keypoint (one-hot heatmaps).

    A keypoint on the border of the image belongs to the outermost cell.

    Args:
        logits: (Q, K, H, W), one map per keypoint.
        keypoints: (Q, K, 3) in pixels, finite.
        stride: pixels per cell.

    Returns:
        (Q, K); where a keypoint is not labeled, the value means nothing.
    """
    height, width = logits.shape[2:]
    cells = nearest_cells(keypoints, (height, width), stride)
    return cross_entropy_at(logits, cells.rows * width + cells.columns)


def cross_entropy_at(logits: Tensor, index: Tensor) -> Tensor:
    """(Q, K, H, W) logits and (Q, K) cells, row * W + column -> (Q, K)."""
    losses = F.cross_entropy(logits.flatten(2).flatten(0, 1), index.flatten(), reduction="none")
    return losses.unflatten(0, index.shape)


def cell_centers(cells: Tensor, width: int, stride: int) -> Tensor:
    """(...,) int64 cells, row * ``width`` + column -> (..., 2) their centers, pixels."""
    return (torch.stack([cells % width, cells // width], dim=-1) + 0.5) * stride


def refined_points(cells: Tensor, offsets: Tensor, stride: int) -> Tensor:
    """Centers of cells, shifted by what another map says there.

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
    """(..., K, 3) with zeros where nothing is labeled: there may be anything, and 0 * NaN is NaN."""
    return torch.where(keypoints[..., 2:] > 0, keypoints, 0)
