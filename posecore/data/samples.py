"""Kinds of samples: :class:`ImageSamples` are whole images; methods register others, such as person crops.

INPUT.SAMPLES names the kind. Loaders and the predictor make all samples by the interface :class:`Samples`.
"""

from abc import ABC, abstractmethod
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, TypeVar

import numpy as np
from detectron2.config import CfgNode

from posecore.config.options import choice
from posecore.data.mapper import PoseMapper
from posecore.data.mosaic import Mosaic
from posecore.data.person_boxes import PersonBoxes


class Samples(ABC):
    """A kind of samples: chooses the records of datasets, and makes the samples of them.

    Records are dicts with at least width and height of their image. Samples are the inputs of models
    (:mod:`posecore.modeling.estimator`). No method modifies its arguments.

    Attributes:
        same_shape: whether all training samples have the same shape, so that they need no grouping by it
            (DATALOADER.ASPECT_RATIO_GROUPING).
        needs_boxes: whether a sample of an image needs the boxes of its persons.
        mosaic: joins training samples to mosaics; None for a kind of which there are none.
    """

    same_shape: bool = False
    needs_boxes: bool = False
    mosaic: Mosaic | None = None

    @classmethod
    @abstractmethod
    def from_config(cls, cfg: CfgNode) -> "Samples":
        """The samples as INPUT and DATASETS ask for them."""

    @abstractmethod
    def train_records(self, images: list[dict]) -> list[dict]:
        """The records of training; their number is the length of an epoch.

        Args:
            images: with annotations, as :func:`posecore.data.load_dataset` returns them.
        """

    @abstractmethod
    def test_records(self, dataset: str, images: list[dict]) -> list[dict]:
        """The records of evaluation, one per image, in the order of the images.

        Args:
            dataset: one of DATASETS.TEST.
            images: of that dataset.
        """

    @abstractmethod
    def check(self, dataset: str) -> None:
        """Checks before a training, as far as this is quick, that :meth:`test_records` will work.

        Raises:
            FileNotFoundError, ValueError: it will not.
        """

    @abstractmethod
    def train_sample(self, record: dict) -> dict[str, Any]:
        """The sample of one of :meth:`train_records`, augmented."""

    @abstractmethod
    def labeled_sample(self, record: dict) -> dict[str, Any]:
        """The sample of one of :meth:`train_records`, not augmented, for validation losses."""

    @abstractmethod
    def test_sample(self, record: dict) -> dict[str, Any]:
        """The sample of one of :meth:`test_records`."""

    @abstractmethod
    def sample(self, image: np.ndarray, boxes: PersonBoxes | None = None) -> dict[str, Any]:
        """The sample of an image as in evaluation, without file_name and image_id.

        Args:
            image: (H, W, 3) uint8 RGB.
            boxes: of its persons, where :attr:`needs_boxes`.
        """


SAMPLES: dict[str, type[Samples]] = {}
SamplesClass = TypeVar("SamplesClass", bound=type[Samples])


def register_samples(name: str) -> Callable[[SamplesClass], SamplesClass]:
    """A decorator that registers a class under the name that INPUT.SAMPLES then takes."""

    def register(samples: SamplesClass) -> SamplesClass:
        SAMPLES[name] = samples
        return samples

    return register


def build_samples(cfg: CfgNode) -> Samples:
    """The samples of a configuration.

    Raises:
        ValueError: INPUT.SAMPLES is not registered, or another key of INPUT is wrong.
    """
    return choice(cfg, "INPUT.SAMPLES", SAMPLES).from_config(cfg)


@register_samples("images")
@dataclass(frozen=True, kw_only=True)
class ImageSamples(Samples):
    """Samples of whole images, each with all its persons.

    Attributes:
        train_mapper: makes training samples.
        labeled_mapper: makes samples that are labeled and not augmented.
        test_mapper: makes samples of evaluation.
        min_keypoints: labeled keypoints, over all persons, that a training image must have.
        mosaic: joins training samples to mosaics.
    """

    train_mapper: PoseMapper
    labeled_mapper: PoseMapper
    test_mapper: PoseMapper
    min_keypoints: int
    mosaic: Mosaic | None = None

    @classmethod
    def from_config(cls, cfg: CfgNode) -> "ImageSamples":
        """The mappers of training, of validation and of evaluation."""
        return cls(
            train_mapper=PoseMapper(cfg, is_train=True),
            labeled_mapper=PoseMapper(cfg, is_train=False, labeled=True),
            test_mapper=PoseMapper(cfg, is_train=False),
            min_keypoints=cfg.DATASETS.MIN_KEYPOINTS,
            mosaic=Mosaic.from_config(cfg),
        )

    def train_records(self, images: list[dict]) -> list[dict]:
        """The images with enough labeled keypoints (DATASETS.MIN_KEYPOINTS)."""
        return [record for record in images if _num_labeled(record) >= self.min_keypoints]

    def test_records(self, dataset: str, images: list[dict]) -> list[dict]:
        """The images themselves."""
        return images

    def check(self, dataset: str) -> None:
        """Nothing can be wrong with whole images."""

    def train_sample(self, record: dict) -> dict[str, Any]:
        """The augmented image with its persons."""
        return self.train_mapper(record)

    def labeled_sample(self, record: dict) -> dict[str, Any]:
        """The image at its size in evaluation, with its persons."""
        return self.labeled_mapper(record)

    def test_sample(self, record: dict) -> dict[str, Any]:
        """The image at its size in evaluation."""
        return self.test_mapper(record)

    def sample(self, image: np.ndarray, boxes: PersonBoxes | None = None) -> dict[str, Any]:
        """The image at its size in evaluation; boxes are not needed."""
        height, width = image.shape[:2]
        return {"image": self.test_mapper.transform_image(image), "height": height, "width": width}


def _num_labeled(record: dict) -> int:
    return sum(person["num_keypoints"] for person in record["annotations"] if not person["iscrowd"])
