"""Losses of a training batch before normalization, and their reduction over all processes.

Each model describes each of its losses by a :class:`LossTerm`: a sum over the local batch and the count that
this sum is divided by. :func:`reduce_losses` turns all terms of a step into losses. It is the only exchange
between processes that losses need. Where a process computes its batch in several parts,
:class:`AccumulatedCounts` gives all of them the normalizers of the whole batch.
"""

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from contextvars import ContextVar
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


class AccumulatedCounts:
    """The counts of a batch that every process computes in several parts, one after another.

    To the normalizers a part is what a process is: with gradients averaged over the parts, the parts compute
    what one part computes that holds the whole batch. That needs the counts of all parts before the first
    gradient. So the model first runs on all parts but one within :meth:`collect`, whose losses mean nothing,
    and then on all parts within :meth:`apply`, first on the part that was left out. Processes exchange counts
    once, with that part.

    Args:
        num_parts: of each process's batch, the same in all processes.
    """

    def __init__(self, num_parts: int) -> None:
        self.num_parts = num_parts
        # By the names of the terms that are reduced together.
        self._counts: dict[tuple[str, ...], Tensor] = {}
        self._normalizers: dict[tuple[str, ...], Tensor] = {}
        self._is_collecting = False

    @contextmanager
    def collect(self) -> Iterator[None]:
        """Within it :func:`reduce_losses` adds counts, and does not divide by them."""
        self._is_collecting = True
        try:
            with self._in_use():
                yield
        finally:
            self._is_collecting = False

    @contextmanager
    def apply(self) -> Iterator[None]:
        """Within it :func:`reduce_losses` divides by the normalizers of the whole batch."""
        with self._in_use():
            yield

    @contextmanager
    def _in_use(self) -> Iterator[None]:
        token = _ACCUMULATED.set(self)
        try:
            yield
        finally:
            _ACCUMULATED.reset(token)

    def normalizers(self, names: tuple[str, ...], counts: Tensor, least: Tensor) -> Tensor:
        """The normalizers of T terms that are reduced together.

        Args:
            names: of the terms.
            counts: (T,) counts of this part.
            least: (T,) least values that the sums of the counts are taken for.

        Returns:
            (T,): ones within :meth:`collect`, otherwise the normalizers of the whole batch.
        """
        if self._is_collecting:
            self._counts[names] = self._counts.get(names, 0) + counts
            return torch.ones_like(counts)
        if names not in self._normalizers:
            whole = self._counts.get(names, 0) + counts
            self._normalizers[names] = _normalizers(whole, least) / self.num_parts
        return self._normalizers[names]


_ACCUMULATED: ContextVar[AccumulatedCounts | None] = ContextVar("accumulated counts", default=None)


def reduce_losses(terms: Mapping[str, LossTerm]) -> dict[str, Tensor]:
    """Normalizes all losses of a step, in one exchange between the processes.

    A normalizer is max(sum of counts over all processes, ``min_count``) / number of processes. With
    gradients averaged over processes, as DistributedDataParallel does, several processes then compute what
    one process computes on the joined batch, whatever each of them holds. :class:`AccumulatedCounts` does the
    same for the parts of a batch.

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
    least = counts.new_tensor([term.min_count for term in terms.values()])
    accumulated = _ACCUMULATED.get()
    if accumulated is None:
        normalizers = _normalizers(counts, least)
    else:
        normalizers = accumulated.normalizers(tuple(terms), counts, least)
    return {
        name: term.weight * term.total / normalizer
        for (name, term), normalizer in zip(terms.items(), normalizers, strict=True)
    }


def _normalizers(counts: Tensor, least: Tensor) -> Tensor:
    """(T,) normalizers from the (T,) counts of this process, in one exchange with the others."""
    counts = counts.clone()
    world_size = comm.get_world_size()
    if world_size > 1:
        dist.all_reduce(counts)
    return counts.maximum(least) / world_size
