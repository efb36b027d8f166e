"""The losses of DirectPose beyond those of FCOS: of regressed keypoints and of auxiliary heatmaps.

Letters: N images, G persons of one image, P positive locations, K keypoints, H and W the size of a heatmap.
"""

from collections.abc import Callable
from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor

from posecore.modeling.fcos.losses import focal_loss
from posecore.modeling.losses import LossTerm
from posecore.structures.heatmaps import keypoint_cells

# Error at which smooth L1 turns from quadratic to linear, in cells.
SMOOTH_L1_BETA = 1 / 9

# From (P, K, 2) offsets and targets in cells, (P, K) labeled and (P,) centerness to the loss term.
KeypointLoss = Callable[[Tensor, Tensor, Tensor, Tensor], LossTerm]


def l1_loss(offsets: Tensor, targets: Tensor, labeled: Tensor, centerness: Tensor) -> LossTerm:
    """L1 loss of keypoints, as in the paper's official code.

    The error of a location is the mean over its labeled keypoints. Locations are weighted by their
    centerness; those without a labeled keypoint have weight 0.

    Args:
        offsets: (P, K, 2) predictions, in cells of the location's level.
        targets: (P, K, 2) in the same cells, with any values where not labeled.
        labeled: (P, K) bool.
        centerness: (P,) target centerness.
    """
    errors = mean_keypoint_errors(offsets, targets, labeled, beta=0.0)
    weights = centerness * labeled.any(dim=1)
    return LossTerm((errors * weights).sum(), weights.sum())


def smooth_l1_loss(offsets: Tensor, targets: Tensor, labeled: Tensor, centerness: Tensor) -> LossTerm:
    """Smooth L1 loss of keypoints, as in gluon-cv.

    Locations are weighted by their centerness and by their number of labeled keypoints. Arguments as in
    :func:`l1_loss`.
    """
    errors = mean_keypoint_errors(offsets, targets, labeled, beta=SMOOTH_L1_BETA)
    weights = centerness * labeled.sum(dim=1)
    return LossTerm((errors * weights).sum(), weights.sum())


# The values of MODEL.DIRECTPOSE.KEYPOINT_LOSS.
KEYPOINT_LOSSES: dict[str, KeypointLoss] = {"l1": l1_loss, "smooth_l1": smooth_l1_loss}


def mean_keypoint_errors(offsets: Tensor, targets: Tensor, labeled: Tensor, *, beta: float) -> Tensor:
    """The smooth L1 error of each location, averaged over its labeled keypoints and over x and y.

    Args:
        offsets, targets, labeled: see :func:`l1_loss`.
        beta: error below which the loss is quadratic; 0 for L1.

    Returns:
        (P,); 0 where no keypoint is labeled.
    """
    # Unlabeled targets may be NaN, so they are replaced, not multiplied by zero.
    targets = torch.where(labeled[..., None], targets, offsets.detach())
    errors = F.smooth_l1_loss(offsets, targets, reduction="none", beta=beta).mean(dim=-1)
    return errors.sum(dim=1) / labeled.sum(dim=1).clamp(min=1)


# From the (G, K, 3) keypoints of each image, (H, W) and the pixels per cell to (N, K, H, W) float32 targets.
HeatmapTargets = Callable[[list[Tensor], tuple[int, int], int], Tensor]


def heatmaps_per_type(keypoints: list[Tensor], size: tuple[int, int], stride: int) -> Tensor:
    """Binary heatmaps that are 1 in the cell of each labeled keypoint on the map (section 3.3).

    Args:
        keypoints: (G, K, 3) of each image in pixels; G may be 0.
        size: (H, W) of the heatmaps.
        stride: pixels per cell.

    Returns:
        (N, K, H, W) float32.
    """
    heatmaps = keypoints[0].new_zeros(len(keypoints), keypoints[0].shape[1], *size)
    for heatmap, persons in zip(heatmaps, keypoints, strict=True):
        cells = keypoint_cells(persons, size, stride)
        _, types = cells.inside.nonzero(as_tuple=True)
        heatmap[types, cells.rows[cells.inside], cells.columns[cells.inside]] = 1
    return heatmaps


def heatmaps_one_per_cell(keypoints: list[Tensor], size: tuple[int, int], stride: int) -> Tensor:
    """Binary heatmaps in which a cell is 1 for at most one keypoint type, as in the paper's official code.

    Types are written person by person, and a cell keeps the last one. Arguments and result as in
    :func:`heatmaps_per_type`.
    """
    heatmaps = keypoints[0].new_zeros(len(keypoints), keypoints[0].shape[1], *size)
    for heatmap, persons in zip(heatmaps, keypoints, strict=True):
        cells = keypoint_cells(persons, size, stride)
        _, types = cells.inside.nonzero(as_tuple=True)
        rows, columns = cells.rows[cells.inside], cells.columns[cells.inside]
        last = _last_of_each(rows * size[1] + columns)
        heatmap[types[last], rows[last], columns[last]] = 1
    return heatmaps


# The values of MODEL.DIRECTPOSE.HEATMAP_LABELS.
HEATMAP_TARGETS: dict[str, HeatmapTargets] = {
    "per_type": heatmaps_per_type,
    "one_per_cell": heatmaps_one_per_cell,
}


def _last_of_each(values: Tensor) -> Tensor:
    """Positions of the last occurrence of each value in a (n,) tensor."""
    unique, group = values.unique(return_inverse=True)
    position = torch.arange(len(values), device=values.device)
    return position.new_zeros(len(unique)).scatter_reduce(0, group, position, "amax", include_self=False)


def heatmap_loss(logits: Tensor, heatmaps: Tensor, *, alpha: float, gamma: float, weight: float) -> LossTerm:
    """Focal loss of (N, K, H, W) logits, normalized by the number of ones in the target heatmaps."""
    return LossTerm(focal_loss(logits, heatmaps, alpha=alpha, gamma=gamma), heatmaps.sum(), weight)


@dataclass(frozen=True)
class TrainingSettings:
    """The settings of the losses beyond those of FCOS.

    Attributes:
        keypoint_loss: loss of the predicted keypoints.
        heatmap_targets: makes the target heatmaps of the auxiliary branch.
        heatmap_weight: weight of the auxiliary loss.
    """

    keypoint_loss: KeypointLoss
    heatmap_targets: HeatmapTargets
    heatmap_weight: float
