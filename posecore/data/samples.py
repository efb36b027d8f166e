"""How datasets become what a model takes: whole pictures, or what else a method registers.

INPUT.VIEW names the view; loaders and the predictor ask it for everything that depends on it.
"""

from abc import ABC, abstractmethod
from collections.abc import Callable
from typing import Any, TypeVar

import numpy as np
from detectron2.config import CfgNode
from detectron2.data import transforms as T

from posecore.config.options import choice
from posecore.data.augment import evaluation_resize
from posecore.data.mapper import PoseMapper, as_tensor
from posecore.data.person_boxes import PersonBoxes


class View(ABC):
    """Chooses the records that samples are made of, and makes the samples.

    Records are dicts with at least width and height of the picture they come from; samples are what the
    model takes (posecore.modeling.estimator). No method changes what it is given.

    Attributes:
        same_shape: whether all training samples have one shape, so that none has to wait for others of
            its shape (DATALOADER.ASPECT_RATIO_GROUPING).
        needs_boxes: whether a sample of a picture can only be made with the boxes of its persons.
    """

    same_shape: bool = False
    needs_boxes: bool = False

    @classmethod
    @abstractmethod
    def from_config(cls, cfg: CfgNode) -> "View":
        """The view as INPUT and DATASETS ask for it."""

    @abstractmethod
    def train_records(self, pictures: list[dict]) -> list[dict]:
        """What training goes through; their number is an epoch.

        Args:
            pictures: with annotations, as :func:`posecore.data.load_dataset` returns them.
        """

    @abstractmethod
    def test_records(self, dataset: str, pictures: list[dict]) -> list[dict]:
        """What evaluation goes through, one record per picture, in their order.

        Args:
            dataset: one of DATASETS.TEST.
            pictures: of that dataset.
        """

    @abstractmethod
    def check(self, dataset: str) -> None:
        """Whether :meth:`test_records` of a dataset could work, as far as that shows at once.

        Raises:
            FileNotFoundError, ValueError: it could not; a training need not start.
        """

    @abstractmethod
    def train_sample(self, record: dict) -> dict[str, Any]:
        """One of :meth:`train_records`, read and augmented."""

    @abstractmethod
    def labelled_sample(self, record: dict) -> dict[str, Any]:
        """One of :meth:`train_records` without augmentation, for losses that are only looked at."""

    @abstractmethod
    def test_sample(self, record: dict) -> dict[str, Any]:
        """One of :meth:`test_records`, read."""

    @abstractmethod
    def sample(self, image: np.ndarray, boxes: PersonBoxes | None = None) -> dict[str, Any]:
        """What evaluation would make of a picture, without its file_name and image_id.

        Args:
            image: (H, W, 3) uint8 RGB.
            boxes: its persons, where :attr:`needs_boxes`.
        """


VIEWS: dict[str, type[View]] = {}
ViewClass = TypeVar("ViewClass", bound=type[View])


def register_view(name: str) -> Callable[[ViewClass], ViewClass]:
    """Makes a class known as INPUT.VIEW ``name``."""

    def register(view: ViewClass) -> ViewClass:
        VIEWS[name] = view
        return view

    return register


def build_view(cfg: CfgNode) -> View:
    """The view of a configuration.

    Raises:
        ValueError: nobody registered INPUT.VIEW, or another key of INPUT is wrong.
    """
    return choice(cfg, "INPUT.VIEW", VIEWS).from_config(cfg)


@register_view("pictures")
class Pictures(View):
    """Whole pictures, each with all its persons.

    Args:
        train_mapper: makes training samples.
        labelled_mapper: makes samples that are labelled and not augmented.
        test_mapper: makes those of evaluation.
        resize: what ``test_mapper`` does to a picture.
        image_format: order of the samples' channels, "BGR" or "RGB".
        min_keypoints: labelled keypoints, over all persons, that a training picture must have.
    """

    def __init__(
        self,
        *,
        train_mapper: PoseMapper,
        labelled_mapper: PoseMapper,
        test_mapper: PoseMapper,
        resize: T.Augmentation,
        image_format: str,
        min_keypoints: int,
    ) -> None:
        self._train_mapper = train_mapper
        self._labelled_mapper = labelled_mapper
        self._test_mapper = test_mapper
        self._resize = resize
        self._image_format = image_format
        self._min_keypoints = min_keypoints

    @classmethod
    def from_config(cls, cfg: CfgNode) -> "Pictures":
        return cls(
            train_mapper=PoseMapper(cfg, is_train=True),
            labelled_mapper=PoseMapper(cfg, is_train=False, labelled=True),
            test_mapper=PoseMapper(cfg, is_train=False),
            resize=evaluation_resize(cfg),
            image_format=cfg.INPUT.FORMAT,
            min_keypoints=cfg.DATASETS.MIN_KEYPOINTS,
        )

    def train_records(self, pictures: list[dict]) -> list[dict]:
        return [record for record in pictures if _num_labelled(record) >= self._min_keypoints]

    def test_records(self, dataset: str, pictures: list[dict]) -> list[dict]:
        return pictures

    def check(self, dataset: str) -> None:
        pass

    def train_sample(self, record: dict) -> dict[str, Any]:
        return self._train_mapper(record)

    def labelled_sample(self, record: dict) -> dict[str, Any]:
        return self._labelled_mapper(record)

    def test_sample(self, record: dict) -> dict[str, Any]:
        return self._test_mapper(record)

    def sample(self, image: np.ndarray, boxes: PersonBoxes | None = None) -> dict[str, Any]:
        resized = self._resize.get_transform(image).apply_image(image)
        height, width = image.shape[:2]
        return {"image": as_tensor(resized, self._image_format), "height": height, "width": width}


def _num_labelled(record: dict) -> int:
    return sum(person["num_keypoints"] for person in record["annotations"] if not person["iscrowd"])
