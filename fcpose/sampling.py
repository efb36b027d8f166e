"""Which positive locations train keypoints: a head for every positive would be too many."""

from dataclasses import dataclass

import torch
from torch import Tensor


@dataclass(frozen=True)
class Sample:
    """The Q chosen of P positives.

    Attributes:
        index: (Q,) into the positives, ascending.
        weights: (Q,) one over the number chosen for the same person, so that persons weigh the same.
    """

    index: Tensor
    weights: Tensor


def sample_positives(persons: Tensor, confidence: Tensor, limit: int) -> Sample:
    """Chooses the same number for every person, the most confident ones.

    Args:
        persons: (P,) int64, which person each positive belongs to.
        confidence: (P,).
        limit: at most so many. Of more persons than that, the most confident have one each.
    """
    order = confidence.argsort(descending=True, stable=True)
    order = order[persons[order].argsort(stable=True)]
    _, who, counts = persons[order].unique_consecutive(return_inverse=True, return_counts=True)
    rank = torch.arange(len(order), device=order.device) - (counts.cumsum(0) - counts)[who]
    best = rank < max(limit // max(len(counts), 1), 1)
    kept, who = order[best], who[best]
    if len(kept) > limit:
        first = confidence[kept].argsort(descending=True, stable=True)[:limit]
        kept, who = kept[first], who[first]
    weights = 1 / who.bincount(minlength=1)[who].to(confidence.dtype)
    kept, place = kept.sort()
    return Sample(kept, weights[place])
