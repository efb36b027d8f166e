"""Losses of a training batch before normalization, and their reduction over all processes.

Each model describes each of its losses by a :class:`LossTerm`: a sum over the local batch and the count that
this sum is divided by. :func:`reduce_losses` turns all terms of a step into losses. It is the only exchange
between processes that losses need.
"""

from collections.abc import Mapping
from dataclasses import dataclass

import torch
import torch.distributed as dist
from detectron2.utils import comm
from torch import Tensor


@dataclass(frozen=True)
class LossTerm:
    """One loss of the local batch before it is normalized.

    Attributes:
        total: scalar with gradient, the sum over the local batch.
        count: the local part of the normalizer, a number or a scalar: positive locations, labeled
            keypoints, a sum of weights.
        weight: factor of the loss.
        min_count: the least value that the sum of the counts over all processes is taken for.
    """

    total: Tensor
    count: Tensor | float
    weight: float = 1.0
    min_count: float = 1.0


def reduce_losses(terms: Mapping[str, LossTerm]) -> dict[str, Tensor]:
    """Normalizes all losses of a step, in one exchange between the processes.

    A normalizer is max(sum of counts over all processes, ``min_count``) / number of processes. With
    gradients averaged over processes, as DistributedDataParallel does, several processes then compute what
    one process computes on the joined batch, whatever each of them holds.

    Args:
        terms: name -> term, at least one, with the same names in every process.

    Returns:
        name -> weight * total / normalizer, a scalar with gradient.
    """
    device = next(iter(terms.values())).total.device
    with torch.no_grad():
        counts = torch.stack(
            [torch.as_tensor(term.count, dtype=torch.float32, device=device) for term in terms.values()]
        )
    world_size = comm.get_world_size()
    if world_size > 1:
        dist.all_reduce(counts)
    least = counts.new_tensor([term.min_count for term in terms.values()])
    normalizers = counts.maximum(least) / world_size
    return {
        name: term.weight * term.total / normalizer
        for (name, term), normalizer in zip(terms.items(), normalizers, strict=True)
    }
