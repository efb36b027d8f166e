"""The losses of FCPose beyond those of FCOS: of the heatmaps, and of the offsets that refine their peaks.

Each loss is a function of a :class:`KeypointBatch`.

Letters: N images, G persons of one image, Q sampled positive locations, K keypoints, n cells per keypoint, H
and W the size of the heatmaps, which is that of F unless they are enlarged.
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

# How many times the official code enlarges the heatmaps before the softmax.
UPSAMPLING = 4
# The official expected distance: slope of its tanh, and the number that it is divided by.
DISTANCE_SLOPE, DISTANCE_NORMALIZER = 6.0, 12.0
# Square pixels added below the root of a distance, so that its gradient is finite at a distance of zero.
DISTANCE_EPSILON = 1e-6


@dataclass(frozen=True)
class KeypointBatch:
    """The predictions and the ground truth of the sampled positive locations of a batch.

    Attributes:
        logits: (Q, K, H, W) heatmaps of the sampled positives.
        weights: (Q,) weights; those of the positives of one person sum to one.
        images: (Q,) int64 index of the image.
        boxes: (Q, 4) boxes of the positives' persons, corners in pixels.
        keypoints: (Q, K, 3) keypoints of the positives' persons, in pixels.
        offsets: (N, K, 2, H, W) shared offsets from the center of each cell, in pixels.
        read_offsets: from (Q, K, n) cells, row * W + column, to the (Q, K, n, 2) offsets of the sampled
            positives in these cells, which may be generated for each person.
        people: (G, K, 3) keypoints of all persons of each image.
        stride: pixels per cell of the heatmaps.
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
        """(H, W) of the heatmaps."""
        return self.logits.shape[2], self.logits.shape[3]


KeypointLoss = Callable[[KeypointBatch], LossTerm]


def heatmap_cross_entropy(batch: KeypointBatch) -> LossTerm:
    """Cross-entropy of the softmax over cells with the cell of each labeled keypoint (equation 3).

    The loss is the mean over the labeled keypoints of all persons. The positives of a person share its
    weight.
    """
    weights = (batch.keypoints[..., 2] > 0) * batch.weights[:, None]
    losses = cell_cross_entropy(batch.logits, batch.keypoints, batch.stride)
    return LossTerm((losses * weights).sum(), weights.sum())


def upsampled_cross_entropy(batch: KeypointBatch) -> LossTerm:
    """Cross-entropy over cells four times finer, as in the official code.

    Keypoints that are not labeled or lie beside the map do not count. The sum over the keypoints of a person
    is divided by K, however many are labeled, and the loss is the mean over persons.
    """
    logits = F.interpolate(batch.logits, scale_factor=UPSAMPLING, mode="bilinear", align_corners=False)
    cells = _fine_cells(batch)
    index = torch.where(cells.inside, cells.rows * logits.shape[3] + cells.columns, 0)
    losses = (cross_entropy_at(logits, index) * cells.inside).sum(dim=1) / index.shape[1]
    return LossTerm((losses * batch.weights).sum(), batch.weights.sum())


def squared_offset_error(batch: KeypointBatch) -> LossTerm:
    """Mean squared error of the shared offsets around each labeled keypoint, in cells.

    The keypoint's cell and its eight neighbors, as far as they are on the map, are trained to point at the
    keypoint. The offsets are shared by all persons of an image, so all persons count.
    """
    total, count = batch.offsets.new_zeros(()), batch.weights.new_zeros(())
    for offsets, persons in zip(batch.offsets, batch.people, strict=True):
        cells, supervised = _cells_around(persons, batch.size, batch.stride)
        owners, keypoints, _ = supervised.nonzero(as_tuple=True)
        chosen = cells[supervised]
        predicted = offsets.flatten(2)[keypoints, :, chosen]
        targets = persons[owners, keypoints, :2] - cell_centers(chosen, batch.size[1], batch.stride)
        total = total + ((predicted - targets) / batch.stride).square().mean(dim=1).sum()
        count = count + len(owners)
    return LossTerm(total, count)


def squared_own_offset_error(batch: KeypointBatch) -> LossTerm:
    """Mean squared error of the offsets that are generated for each sampled positive, in cells.

    The cells are those of :func:`squared_offset_error`. The positives of a person share its weight.
    """
    cells, supervised = _cells_around(batch.keypoints, batch.size, batch.stride)
    targets = batch.keypoints[:, :, None, :2] - cell_centers(cells, batch.size[1], batch.stride)
    errors = ((batch.read_offsets(cells) - targets) / batch.stride).square().mean(dim=-1)
    weights = supervised * batch.weights[:, None, None]
    return LossTerm((errors * weights).sum(), weights.sum())


def expected_distance(batch: KeypointBatch) -> LossTerm:
    """Distance from the cells' refined points to the keypoint, averaged by the heatmap (the official code).

    A distance d contributes tanh(6 d / s), with s half the sum of the sides of the box. The average weighs a
    cell by the softmax of the heatmap, which gets a gradient too. Keypoints and persons are weighted as in
    :func:`upsampled_cross_entropy`, but the sum over keypoints is not divided by K.
    """
    probability = batch.logits.flatten(2).softmax(dim=2)
    centers = make_locations([batch.size], [batch.stride], batch.offsets.device).points
    points = batch.offsets.flatten(3) + centers.T  # (N, K, 2, H * W)
    errors = points[batch.images] - batch.keypoints[..., :2, None]
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
    """The cell of each keypoint and its eight neighbors, moved onto the map, and which of them count.

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
    """The cells of the keypoints on the enlarged heatmaps."""
    height, width = batch.size
    return keypoint_cells(
        batch.keypoints, (UPSAMPLING * height, UPSAMPLING * width), batch.stride // UPSAMPLING
    )
