"""The order of training samples, whatever the number of processes and workers: :class:`TrainingBatches`."""

import itertools
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import torch
from torch.utils.data import Sampler


@dataclass(frozen=True, order=True)
class Draw:
    """One use of a sample in a training.

    Attributes:
        epoch: how often all samples were used before.
        index: of the sample, in [0, size).
    """

    epoch: int
    index: int


class TrainingBatches(Sampler[list[Draw]]):
    """The endless batches of this process, in the shuffled order of Detectron2's ``TrainingSampler``.

    The batches of all processes together are made of one stream, and each process takes its share of every
    batch. So a number of processes changes nothing but the shares, and a training that is resumed after any
    batch goes on with what would have come.

    Args:
        groups: (size,); only samples of the same group share a batch.
        seed: of the shuffling, the same in all processes.
        batch_size: of all processes together.
        rank: of this process.
        num_processes: must divide ``batch_size``.
        first_batch: number of batches that the training has had.

    Raises:
        ValueError: there are no samples, or the batch cannot be shared.
    """

    def __init__(
        self,
        groups: Sequence[int],
        *,
        seed: int,
        batch_size: int,
        rank: int = 0,
        num_processes: int = 1,
        first_batch: int = 0,
    ) -> None:
        if not groups:
            raise ValueError("there are no training samples")
        if batch_size < 1 or batch_size % num_processes:
            raise ValueError(
                f"SOLVER.IMS_PER_BATCH must be a positive multiple of the number of processes, "
                f"{num_processes}, not {batch_size}"
            )
        self._groups = groups
        self._seed = seed
        self._batch_size = batch_size
        self._rank = rank
        self._num_processes = num_processes
        self._first_batch = first_batch

    def __iter__(self) -> Iterator[list[Draw]]:
        batches = group_batches(shuffled(len(self._groups), self._seed), self._groups, self._batch_size)
        for batch in itertools.islice(batches, self._first_batch, None):
            yield batch[self._rank :: self._num_processes]


def shuffled(size: int, seed: int) -> Iterator[Draw]:
    """All samples, in another order in each epoch, without end."""
    generator = torch.Generator().manual_seed(seed)
    for epoch in itertools.count():
        for index in torch.randperm(size, generator=generator).tolist():
            yield Draw(epoch, index)


def group_batches(stream: Iterator[Draw], groups: Sequence[int], batch_size: int) -> Iterator[list[Draw]]:
    """Batches of samples of one group each; a sample waits until others of its group fill its batch."""
    waiting: dict[int, list[Draw]] = {}
    for draw in stream:
        batch = waiting.setdefault(groups[draw.index], [])
        batch.append(draw)
        if len(batch) == batch_size:
            yield waiting.pop(groups[draw.index])
