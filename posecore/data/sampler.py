"""The order in which training sees the images; one that a resumed training can take up where it stopped."""

import itertools
from collections.abc import Iterable, Iterator, Sequence

from detectron2.data.samplers import TrainingSampler


class ResumableSampler(TrainingSampler):
    """Detectron2's endless shuffled stream of image indices, from behind its first batches on.

    What follows is what would have followed without the interruption, image by image, also where
    images wait for others of their shape; only with several loading workers and without
    DATALOADER.ASPECT_RATIO_GROUPING do a few images come earlier or later than they would have.

    Args:
        size: number of images.
        seed: of the shuffling, the same in all processes.
        batch_size: of this process.
        groups: (size,), which images may share a batch.
        first_batch: how many batches this process has had already.
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
    """The stream as it goes on once ``count`` batches were made of it.

    Batches hold images of one group. When the last of them is full, some images that came before it
    still wait for others of their group; they are the first to come now.
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
