"""The losses of FCPose beyond FCOS's own: of the heatmaps, and of the offsets that refine their peaks.

Letters: N images, G persons of one image, Q sampled positive locations, K keypoints, H and W the size of the
heatmaps, which is that of F unless they are enlarged.

"""

from collections.abc import Callable
from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor

from posecore.modeling.fcos.locations import make_locations
from posecore.modeling.losses import LossTerm
from posecore.structures.heatmaps import (
    Cells,
    cell_centers,
    cell_cross_entropy,
    cross_entropy_at,
    keypoint_cells,
)

# The heatmaps of the official code are enlarged so many times before the softmax.
UPSAMPLING = 4
# The official expected distance: how fast it saturates, and what it is divided by.
DISTANCE_SLOPE, DISTANCE_NORMALIZER = 6.0, 12.0
# Square pixels below the root of a distance, whose gradient would not be finite at zero.
DISTANCE_EPSILON = 1e-6


@dataclass(frozen=True)
class KeypointBatch:
    """What is predicted and what is true.

    Attributes:
        logits: (Q, K, H, W) heatmaps of the sampled positives.
        weights: (Q,); those of a person's positives sum to one.
        images: (Q,) int64.
        boxes: (Q, 4) of their persons, corners in pixels.
        keypoints: (Q, K, 3) of their persons, in pixels.
        offsets: (N, K, 2, H, W), in pixels, from a cell's center.
        read_offsets: from (Q, K, n) cells, row * W + column, to the (Q, K, n, 2) offsets of the sampled
            positives there, which may be each person's own.
        people: per image the keypoints of all persons, (G, K, 3).
        stride: pixels per cell.
    """

    logits: Tensor
    weights: Tensor
    images: Tensor
    boxes: Tensor
    keypoints: Tensor
    offsets: Tensor
    read_offsets: Callable[[Tensor], Tensor]
    people: list[Tensor]
    stride: int

    @property
    def size(self) -> tuple[int, int]:
        """(H, W)."""
        return self.logits.shape[2], self.logits.shape[3]


KeypointLoss = Callable[[KeypointBatch], LossTerm]


def heatmap_cross_entropy(batch: KeypointBatch) -> LossTerm:
    """Cross-entropy of the softmax over cells with each labeled keypoint's cell (equation 3).

    The mean is over labeled keypoints; the positives of a person share its weight.
    """
    weights = (batch.keypoints[..., 2] > 0) * batch.weights[:, None]
    losses = cell_cross_entropy(batch.logits, batch.keypoints, batch.stride)
    return LossTerm((losses * weights).sum(), weights.sum())


def upsampled_cross_entropy(batch: KeypointBatch) -> LossTerm:
    """As in the official code: over cells four times finer; keypoints without a cell there do not count.

    The sum over a person's keypoints is divided by K, whatever is labeled, and the mean is over persons.
    """
    logits = F.interpolate(batch.logits, scale_factor=UPSAMPLING, mode="bilinear", align_corners=False)
    cells = _fine_cells(batch)
    index = torch.where(cells.inside, cells.rows * logits.shape[3] + cells.columns, 0)
    losses = (cross_entropy_at(logits, index) * cells.inside).sum(dim=1) / index.shape[1]
    return LossTerm((losses * batch.weights).sum(), batch.weights.sum())


def squared_offset_error(batch: KeypointBatch) -> LossTerm:
    """Mean squared error of the offsets around each labeled keypoint, in cells.

    The nine cells within one of the keypoint's own, as far as they are on the map, are to point at it.
    The offsets do not know persons, so all persons of an image count.
    """
    total, count = batch.offsets.new_zeros(()), batch.weights.new_zeros(())
    for offsets, persons in zip(batch.offsets, batch.people, strict=True):
        cells, supervised = _cells_around(persons, batch.size, batch.stride)
        who, keypoints, _ = supervised.nonzero(as_tuple=True)
        chosen = cells[supervised]
        found = offsets.flatten(2)[keypoints, :, chosen]
        ground_truth = persons[who, keypoints, :2] - cell_centers(chosen, batch.size[1], batch.stride)
        total = total + ((found - ground_truth) / batch.stride).square().mean(dim=1).sum()
        count = count + len(who)
    return LossTerm(total, count)


def squared_own_offset_error(batch: KeypointBatch) -> LossTerm:
    """As :func:`squared_offset_error`, of the offsets that each sampled positive has for its own person.

    The positives of a person share its weight.
    """
    cells, supervised = _cells_around(batch.keypoints, batch.size, batch.stride)
    ground_truth = batch.keypoints[:, :, None, :2] - cell_centers(cells, batch.size[1], batch.stride)
    errors = ((batch.read_offsets(cells) - ground_truth) / batch.stride).square().mean(dim=-1)
    weights = supervised * batch.weights[:, None, None]
    return LossTerm((errors * weights).sum(), weights.sum())


def expected_distance(batch: KeypointBatch) -> LossTerm:
    """As in the official code: how far the cells' refined positions are from the ground truth, averaged by the heatmap.

    A distance d counts tanh(6 d / s) with s half the sum of the box's sides. The heatmap's softmax gets
    gradient too. The sum over labeled keypoints is weighed as in :func:`upsampled_cross_entropy`, but not
    divided by K.
    """
    probability = batch.logits.flatten(2).softmax(dim=2)
    centers = make_locations([batch.size], [batch.stride], batch.offsets.device).points
    where = batch.offsets.flatten(3) + centers.T  # (N, K, 2, H * W)
    errors = where[batch.images] - batch.keypoints[..., :2, None]
    distance = (errors.square().sum(dim=2) + DISTANCE_EPSILON).sqrt()
    sides = (batch.boxes[:, 2:] - batch.boxes[:, :2]).sum(dim=1).clamp(min=1) / 2
    saturated = torch.tanh(DISTANCE_SLOPE * distance / sides[:, None, None])
    expected = (probability * saturated).sum(dim=2) * _fine_cells(batch).inside
    losses = expected.sum(dim=1) * batch.weights / DISTANCE_NORMALIZER
    return LossTerm(losses.sum(), batch.weights.sum())


# The values of MODEL.FCPOSE.HEATMAP_LOSS and of MODEL.FCPOSE.OFFSET_LOSS.
HEATMAP_LOSSES: dict[str, KeypointLoss] = {
    "cells": heatmap_cross_entropy,
    "upsampled": upsampled_cross_entropy,
}
OFFSET_LOSSES: dict[str, KeypointLoss] = {
    "squared": squared_offset_error,
    "expected_distance": expected_distance,
}


def _cells_around(keypoints: Tensor, size: tuple[int, int], stride: int) -> tuple[Tensor, Tensor]:
    """The nine cells within one of each keypoint's own, moved onto the map, and which of them count.

    Args:
        keypoints: (G, K, 3).
        size: (H, W).
        stride: pixels per cell.

    Returns:
        (G, K, 9) int64 cells, row * W + column, and (G, K, 9) bool: on the map, of a labeled keypoint.
    """
    height, width = size
    own = keypoint_cells(keypoints, size, stride)
    around = torch.arange(-1, 2, device=keypoints.device)
    rows = own.rows.clamp(0, height - 1)[..., None, None] + around[:, None]
    columns = own.columns.clamp(0, width - 1)[..., None, None] + around
    counts = (rows >= 0) & (rows < height) & (columns >= 0) & (columns < width)
    counts = counts & (keypoints[..., 2] > 0)[..., None, None]
    cells = rows.clamp(0, height - 1) * width + columns.clamp(0, width - 1)
    return cells.flatten(2), counts.flatten(2)


def _fine_cells(batch: KeypointBatch) -> Cells:
    """Where keypoints lie on the enlarged heatmaps."""
    height, width = batch.size
    return keypoint_cells(
        batch.keypoints, (UPSAMPLING * height, UPSAMPLING * width), batch.stride // UPSAMPLING
    )
