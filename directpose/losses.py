"""The losses of DirectPose beyond FCOS's own, as functions of tensors.

P positive locations, K keypoints. Normalizers come from ``posecore.modeling.losses.mean_over_processes``.
"""

import torch
import torch.nn.functional as F
from torch import Tensor
from torchvision.ops import sigmoid_focal_loss

from posecore.structures.heatmaps import keypoint_cells

# Where smooth L1 turns from square to linear, in cells.
SMOOTH_L1_BETA = 1 / 9


def keypoint_errors(offsets: Tensor, targets: Tensor, labeled: Tensor, *, smooth: bool) -> Tensor:
    """The mean error of each location over its labeled keypoints and over x and y.

    Args:
        offsets: (P, K, 2) predictions in cells of the location's level.
        targets: (P, K, 2) in the same cells.
        labeled: (P, K) bool.
        smooth: smooth L1 instead of L1.

    Returns:
        (P,); 0 where nothing is labeled.
    """
    # Unlabeled targets may be anything, so they are replaced, not multiplied away.
    targets = torch.where(labeled[..., None], targets, offsets.detach())
    beta = SMOOTH_L1_BETA if smooth else 0.0
    errors = F.smooth_l1_loss(offsets, targets, reduction="none", beta=beta).mean(dim=-1)
    return errors.sum(dim=1) / labeled.sum(dim=1).clamp(min=1)


def keypoint_weights(centerness: Tensor, labeled: Tensor, *, count_keypoints: bool) -> Tensor:
    """What each location's keypoint error weighs: its centerness, and nothing without a label.

    Args:
        centerness: (P,) targets.
        labeled: (P, K) bool.
        count_keypoints: whether a location weighs by its number of labeled keypoints, too.
    """
    count = labeled.sum(dim=1)
    return centerness * (count if count_keypoints else (count > 0))


def heatmap_targets(
    keypoints: list[Tensor], size: tuple[int, int], stride: int, *, one_per_cell: bool
) -> Tensor:
    """Binary maps with a one in the cell nearest to each labeled keypoint (section 3.3).

    Args:
        keypoints: per image (G, K, 3), at least (0, K, 3).
        size: (H, W) of the maps.
        stride: pixels per cell.
        one_per_cell: a cell keeps only the last type written to it, persons in order and types within
            a person, as the authors' code has it; otherwise each type has its own map.

    Returns:
        (N, K, H, W) float32.
    """
    num_keypoints = keypoints[0].shape[1]
    targets = keypoints[0].new_zeros(len(keypoints), num_keypoints, *size)
    for target, persons in zip(targets, keypoints, strict=True):
        cells = keypoint_cells(persons, size, stride)
        _, types = cells.inside.nonzero(as_tuple=True)
        rows, columns = cells.rows[cells.inside], cells.columns[cells.inside]
        if one_per_cell:
            last = _last_of_each(rows * size[1] + columns)
            types, rows, columns = types[last], rows[last], columns[last]
        target[types, rows, columns] = 1
    return targets


def _last_of_each(values: Tensor) -> Tensor:
    """Positions of the last occurrence of each value in a (n,) tensor."""
    unique, which = values.unique(return_inverse=True)
    position = torch.arange(len(values), device=values.device)
    return position.new_zeros(len(unique)).scatter_reduce(0, which, position, "amax", include_self=False)


def heatmap_loss(
    logits: Tensor, targets: Tensor, normalizer: Tensor, *, alpha: float, gamma: float
) -> Tensor:
    """Focal loss of (N, K, H, W) logits, summed and divided."""
    return sigmoid_focal_loss(logits, targets, alpha=alpha, gamma=gamma, reduction="sum") / normalizer
