"""From dense scores to a few detections: choose candidates, let the method place them, drop doubles."""

from dataclasses import dataclass

import torch
from torch import Tensor
from torchvision.ops import nms

from posecore.fcos.locations import Locations


@dataclass(frozen=True)
class Candidates:
    """The chosen locations of one picture.

    Attributes:
        scores: (M,).
        index: (M,) int64, into the R locations.
    """

    scores: Tensor
    index: Tensor


def select(
    probability: Tensor, scores: Tensor, locations: Locations, *, threshold: float, topk_per_level: int
) -> list[Candidates]:
    """The locations worth decoding.

    Args:
        probability: (N, R) class probability, compared with ``threshold``.
        scores: (N, R) what candidates are ranked by, and their score.
        locations: the R locations.
        threshold: least class probability (exclusive).
        topk_per_level: at most so many candidates per level.

    Returns:
        Per picture its candidates, level by level, best first within a level.
    """
    results = []
    bounds = [*locations.starts, len(locations)]
    for image_probability, image_scores in zip(probability, scores, strict=True):
        chosen = []
        for start, end in zip(bounds[:-1], bounds[1:], strict=True):
            index = (image_probability[start:end] > threshold).nonzero()[:, 0] + start
            best = image_scores[index].argsort(descending=True, stable=True)[:topk_per_level]
            chosen.append(index[best])
        index = torch.cat(chosen)
        results.append(Candidates(image_scores[index], index))
    return results


def suppress(boxes: Tensor, scores: Tensor, *, threshold: float, limit: int) -> Tensor:
    """Non-maximum suppression.

    Args:
        boxes: (M, 4) corners.
        scores: (M,).
        threshold: overlap (IoU) above which the lesser of two is dropped.
        limit: at most so many survive.

    Returns:
        Indices of the survivors, best first.
    """
    return nms(boxes, scores, threshold)[:limit]
