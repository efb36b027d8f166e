"""Candidates and detections of FCOS with fixed sizes, so that they can be exported.

:func:`fixed_candidates` and :func:`fixed_suppression` do what ``posecore.modeling.fcos.decode`` does, for all
images at once, with masks in place of sizes that depend on values.

Letters: N images, R locations, S candidates of each image, D detections of each image.
"""

from dataclasses import dataclass
from itertools import pairwise

import torch
from torch import Tensor

from posecore.export.suppression import ABSENT, nms_rows
from posecore.modeling.fcos.detector import InferenceSettings
from posecore.modeling.fcos.locations import Locations, SelectedLocations


@dataclass(frozen=True)
class FixedCandidates:
    """S candidates of each of N images.

    Attributes:
        index: (N, S) int64 index into the R locations.
        scores: (N, S); negative where there is no candidate.
    """

    index: Tensor
    scores: Tensor

    @property
    def locations(self) -> SelectedLocations:
        """The N * S locations, image by image."""
        images = torch.arange(self.index.shape[0], device=self.index.device)[:, None]
        return SelectedLocations(images.expand_as(self.index).flatten(), self.index.flatten())

    @property
    def valid(self) -> Tensor:
        """(N, S) bool, whether the candidate exists."""
        return self.scores >= 0

    def at(self, rows: Tensor) -> "FixedCandidates":
        """The candidates at (N, D) positions; -1 for none."""
        scores = self.scores.gather(1, rows.clamp(min=0)).where(rows >= 0, ABSENT)
        return FixedCandidates(self.index.gather(1, rows.clamp(min=0)), scores)


def fixed_candidates(
    probability: Tensor, scores: Tensor, locations: Locations, settings: InferenceSettings
) -> FixedCandidates:
    """Selects the locations that are decoded, as ``posecore.modeling.fcos.decode.select_candidates`` does.

    Args:
        probability: (N, R) class probability.
        scores: (N, R) score by which candidates are ranked.
        locations: the R locations.
        settings: thresholds and numbers of candidates.
    """
    scores = scores.where(probability > settings.score_thresh, ABSENT)
    bounds = [*locations.starts, scores.shape[1]]
    index, best = [], []
    for start, end in pairwise(bounds):
        number = torch.sym_min(settings.topk_per_level, end - start)
        values, places = scores[:, start:end].topk(number, dim=1)
        index.append(places + start)
        best.append(values)
    candidates = FixedCandidates(torch.cat(index, dim=1), torch.cat(best, dim=1))
    if not settings.topk_per_image:
        return candidates
    number = torch.sym_min(settings.topk_per_image, candidates.scores.shape[1])
    values, rows = candidates.scores.topk(number, dim=1)
    return FixedCandidates(candidates.index.gather(1, rows), values)


def fixed_suppression(boxes: Tensor, candidates: FixedCandidates, settings: InferenceSettings) -> Tensor:
    """Non-maximum suppression of the candidates' (N, S, 4) boxes: (N, D) positions, -1 for none."""
    # The operator takes no candidate whose score is zero, which underflow can make.
    scores = candidates.scores.clamp(min=torch.finfo(torch.float32).tiny).where(candidates.valid, 0)
    return nms_rows(boxes, scores, settings.nms_thresh, settings.max_detections)


def take_rows(values: Tensor, rows: Tensor) -> Tensor:
    """(N, S, ...) values at (N, D) positions -> (N, D, ...); position -1 reads the first."""
    first = torch.arange(values.shape[0], device=values.device)[:, None] * values.shape[1]
    places = (first + rows.clamp(min=0)).flatten()
    return values.flatten(0, 1).index_select(0, places).unflatten(0, (-1, rows.shape[1]))


def clipped(boxes: Tensor, sizes: Tensor) -> Tensor:
    """(N, S, 4) boxes clipped to images of (height, width) ``sizes`` (N, 2)."""
    limits = sizes.flip(1).repeat(1, 2).to(boxes.dtype)
    return boxes.clamp(min=0).minimum(limits[:, None])


def all_locations(probability: Tensor) -> SelectedLocations:
    """All N * R locations of a batch, from a prediction (N, R)."""
    index = torch.arange(probability.shape[1], device=probability.device).expand(probability.shape)
    return FixedCandidates(index, probability).locations
