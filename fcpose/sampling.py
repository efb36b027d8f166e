"""The sampling of the positive locations that train keypoints: :func:`sample_positives`.

A keypoint head for every positive location would take too much memory.

Source: FCPose (arXiv 2105.14185).

Letters: P positive locations of a batch, Q of them that are sampled.
"""

from dataclasses import dataclass

import torch
from torch import Tensor


@dataclass(frozen=True)
class Sample:
    """The Q sampled positive locations.

    Attributes:
        index: (Q,) int64 index into the positives, ascending.
        weights: (Q,) one over the number of positives sampled for the same person, so that all persons have
            the same weight.
    """

    index: Tensor
    weights: Tensor


def sample_positives(persons: Tensor, confidence: Tensor, limit: int) -> Sample:
    """Samples the same number of positives for every person, the most confident ones.

    Args:
        persons: (P,) int64 index of the person that each positive belongs to.
        confidence: (P,) score by which the positives of a person are ranked.
        limit: largest number of positives. If there are more persons than that, the most confident persons
            get one positive each.
    """
    order = confidence.argsort(descending=True, stable=True)
    order = order[persons[order].argsort(stable=True)]
    _, owners, counts = persons[order].unique_consecutive(return_inverse=True, return_counts=True)
    rank = torch.arange(len(order), device=order.device) - (counts.cumsum(0) - counts)[owners]
    best = rank < max(limit // max(len(counts), 1), 1)
    kept, owners = order[best], owners[best]
    if len(kept) > limit:
        first = confidence[kept].argsort(descending=True, stable=True)[:limit]
        kept, owners = kept[first], owners[first]
    weights = 1 / owners.bincount(minlength=1)[owners].to(confidence.dtype)
    kept, positions = kept.sort()
    return Sample(kept, weights[positions])
