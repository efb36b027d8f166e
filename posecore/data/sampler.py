"""The order of training samples, which a resumed training continues: :class:`ResumableSampler`."""

import itertools
from collections.abc import Iterable, Iterator, Sequence

from detectron2.data.samplers import TrainingSampler


class ResumableSampler(TrainingSampler):
    """Detectron2's endless shuffled stream of sample indices, without its first batches.

    The order is that of a training without interruption, also with DATALOADER.ASPECT_RATIO_GROUPING, where
    samples wait for others of their shape. Only without grouping and with several loader workers do a few
    samples come earlier or later.

    Args:
        size: number of samples.
        seed: of the shuffling, the same in all processes.
        batch_size: of this process.
        groups: (size,); only samples of the same group share a batch.
        first_batch: number of batches that this process has been trained with.
    """

    def __init__(
        self, size: int, *, seed: int, batch_size: int, groups: Sequence[int], first_batch: int = 0
    ) -> None:
        super().__init__(size, shuffle=True, seed=seed)
        self._batch_size = batch_size
        self._groups = groups
        self._first_batch = first_batch

    def __iter__(self) -> Iterator[int]:
        return skip_batches(super().__iter__(), self._groups, self._batch_size, self._first_batch)


def skip_batches(stream: Iterable[int], groups: Sequence[int], batch_size: int, count: int) -> Iterator[int]:
    """The stream after ``count`` batches were made of it.

    Batches hold samples of one group. When the last of them is full, some earlier samples still wait for
    others of their group; they come first.
    """
    stream = iter(stream)
    waiting: dict[int, list[int]] = {group: [] for group in sorted(set(groups))}
    while count > 0:
        index = next(stream)
        batch = waiting[groups[index]]
        batch.append(index)
        if len(batch) == batch_size:
            batch.clear()
            count -= 1
    return itertools.chain(*waiting.values(), stream)
