"""Datasets for loaders: :class:`RecordSamples`, and :class:`TrainingSamples` with their random numbers.

The augmentation of a sample draws from Python's, numpy's and torch's global generators. Here they are seeded
anew for each sample, by the seed of the training, the epoch and the index of the sample. So a sample is the
same for any number of loader workers and of processes, and in a resumed training.
"""

import random
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from detectron2.data.common import DatasetFromList
from detectron2.utils.serialize import PicklableWrapper
from torch.utils.data import Dataset

from posecore.data.mosaic import Mosaic
from posecore.data.sampler import Draw

# What the reading of an image raises where the image is the cause.
IMAGE_ERRORS = (OSError, ValueError)
# Samples that are tried in place of one that cannot be read.
MAX_TRIES = 100


@dataclass(frozen=True)
class BadImage:
    """An image that could not be read.

    Attributes:
        file_name: of the image.
        message: what is wrong.
    """

    file_name: str
    message: str


@dataclass(frozen=True)
class Loaded:
    """A sample and the images that could not be read on the way to it.

    Attributes:
        sample: None where no image could be read.
        bad_images: those that were passed over.
    """

    sample: dict[str, Any] | None
    bad_images: tuple[BadImage, ...] = ()


class RecordSamples(Dataset[dict[str, Any]]):
    """The samples of records, in their order.

    It is a class of this package, unlike Detectron2's ``MapDataset``, so that a worker that is spawned
    imports posecore before anything of Detectron2.

    Args:
        records: of a dataset.
        make_sample: from a record to a sample.
    """

    def __init__(self, records: list[dict], make_sample: Callable[[dict], dict[str, Any]]) -> None:
        self._records = DatasetFromList(records, copy=False)
        self._make_sample = PicklableWrapper(make_sample)

    def __len__(self) -> int:
        return len(self._records)

    def __getitem__(self, index: int) -> dict[str, Any]:
        return self._make_sample(self._records[index])


class TrainingSamples(Dataset[Loaded]):
    """The samples of records, by :class:`~posecore.data.sampler.Draw`.

    Args:
        records: of the datasets.
        make_sample: from a record to an augmented sample.
        groups: (size,); a sample that cannot be read is replaced by the next one of its group.
        seed: of the training.
        replaces: whether samples are replaced at all; if not, one that cannot be read is returned as such.
        mosaic: joins samples with others of the records; None for samples of one record each.
    """

    def __init__(
        self,
        records: list[dict],
        make_sample: Callable[[dict], dict[str, Any]],
        *,
        groups: Sequence[int],
        seed: int,
        replaces: bool,
        mosaic: Mosaic | None = None,
    ) -> None:
        self._records = DatasetFromList(records, copy=False)
        # By cloudpickle, because Detectron2 has augmentations of local classes.
        self._make_sample = PicklableWrapper(make_sample)
        self._groups = groups
        self._seed = seed
        self._tries = MAX_TRIES if replaces else 1
        self._mosaic = mosaic

    def __len__(self) -> int:
        return len(self._records)

    def __getitem__(self, draw: Draw) -> Loaded:
        bad: list[BadImage] = []
        for index in self._candidates(draw.index):
            with seeded(self._seed, draw.epoch, index):
                sample = self._read(index, bad)
                if sample is not None:
                    sample = self._joined(sample, bad)
            if sample is not None or len(bad) >= self._tries:
                return Loaded(sample, tuple(bad))
        return Loaded(None, tuple(bad))

    def _candidates(self, first: int) -> Iterator[int]:
        """The index itself, and then the others of its group."""
        size = len(self._records)
        indices = ((first + step) % size for step in range(size))
        return (index for index in indices if self._groups[index] == self._groups[first])

    def _read(self, index: int, bad: list[BadImage]) -> dict[str, Any] | None:
        """The sample of one record; None where its image cannot be read, which is then added to ``bad``."""
        record = self._records[index]
        try:
            return self._make_sample(record)
        except IMAGE_ERRORS as error:
            file_name = str(record.get("file_name", ""))
            # An error that does not name the image is no fault of the image.
            if not file_name or file_name not in str(error):
                raise
            bad.append(BadImage(file_name, str(error)))
            return None

    def _joined(self, sample: dict[str, Any], bad: list[BadImage]) -> dict[str, Any] | None:
        """The mosaic that a sample becomes, or the sample; None where too many images cannot be read."""
        if self._mosaic is None:
            return sample
        others = []
        for first in self._mosaic.draw(len(self._records)):
            for index in self._candidates(first):
                other = self._read(index, bad)
                if other is not None:
                    others.append(other)
                    break
                if len(bad) >= self._tries:
                    return None
        return self._mosaic.join([sample, *others]) if others else sample


@contextmanager
def seeded(*numbers: int) -> Iterator[None]:
    """Seeds the global generators by numbers, and gives them back their states afterwards."""
    states = random.getstate(), np.random.get_state(), torch.default_generator.get_state()
    words = np.random.SeedSequence([number % 2**64 for number in numbers]).generate_state(8)
    random.seed(words[:2].tobytes())
    np.random.seed(words[2:6])
    torch.default_generator.manual_seed(int(words[6]) << 32 | int(words[7]))
    try:
        yield
    finally:
        random.setstate(states[0])
        np.random.set_state(states[1])
        torch.default_generator.set_state(states[2])
