"""Sources of the persons' boxes that crops are cut from: :class:`BoxSource` and its three forms.

The boxes are those of the annotations, of a file that a detector has written, or of a detector that runs
before the evaluation.
"""

from abc import ABC, abstractmethod
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from pathlib import Path

import numpy as np
import torch
from detectron2.config import CfgNode
from detectron2.structures import BoxMode
from detectron2.utils import comm

from posecore.config.options import choice
from posecore.data.images import MAX_PIXELS
from posecore.data.mapper import MARGIN, read_rgb
from posecore.data.person_boxes import PersonBoxes, read_detections
from posecore.inference.predictor import Predictor
from posecore.structures.boxes import keypoint_boxes
from posecore.structures.crops import CropGeometry

NO_PERSONS = PersonBoxes(np.zeros((0, 4)), np.zeros(0))

# From an annotated person and the (height, width) of its image to the person's box (4,).
AnnotationBox = Callable[[dict, tuple[int, int]], np.ndarray]


class BoxSource(ABC):
    """Knows or detects the persons of a dataset's images."""

    @abstractmethod
    def __call__(self, dataset: str, images: list[dict]) -> list[PersonBoxes]:
        """The persons of each image.

        Args:
            dataset: one of DATASETS.TEST.
            images: its records, as :func:`posecore.data.load_dataset` returns them.
        """

    @abstractmethod
    def check(self, dataset: str) -> None:
        """Fails where the boxes of a dataset are missing; called before a training starts.

        Raises:
            FileNotFoundError, ValueError: the boxes of this dataset are missing.
        """


@dataclass(frozen=True)
class GroundTruthBoxes(BoxSource):
    """The boxes of the annotated persons of a dataset.

    Crowds, persons without labeled keypoints and boxes without area are left out.

    Attributes:
        box: gives the box of an annotated person.
    """

    box: AnnotationBox

    @classmethod
    def from_config(cls, cfg: CfgNode, geometry: CropGeometry) -> "GroundTruthBoxes":
        """The boxes as INPUT.CROPS asks for them."""
        annotated = partial(clipped_box, geometry=geometry) if cfg.INPUT.CROPS.CLIP_BOXES else annotated_box
        options: dict[str, AnnotationBox] = {"annotated": annotated, "keypoints": keypoint_box}
        return cls(choice(cfg, "INPUT.BOXES", options))

    def __call__(self, dataset: str, images: list[dict]) -> list[PersonBoxes]:
        """
        Raises:
            ValueError: the dataset has no annotations.
        """
        if any("annotations" not in image for image in images):
            raise ValueError(
                f"dataset '{dataset}' has no annotations to take boxes from: set INPUT.CROPS.BOXES to 'file' "
                "or 'detector'"
            )
        boxes = [np.array([box for _, box in self.people(image)]).reshape(-1, 4) for image in images]
        return [PersonBoxes(own, np.ones(len(own))) for own in boxes]

    def check(self, dataset: str) -> None:
        """Checks, as far as this is quick, that the boxes of a dataset will be found."""
        pass

    def people(self, image: dict) -> list[tuple[dict, np.ndarray]]:
        """The annotations of the persons of a dataset dict, each with its box (4,)."""
        people = [
            person
            for person in image["annotations"]
            if not person["iscrowd"] and person["num_keypoints"] > 0 and person["area"] > 0
        ]
        boxes = [self.box(person, (image["height"], image["width"])) for person in people]
        return [pair for pair in zip(people, boxes, strict=True) if (pair[1][2:] > pair[1][:2]).all()]


def annotated_box(person: dict, image_size: tuple[int, int]) -> np.ndarray:
    """The annotated box, which may reach beyond the image."""
    return np.array(BoxMode.convert(person["bbox"], person["bbox_mode"], BoxMode.XYXY_ABS), dtype=float)


def clipped_box(person: dict, image_size: tuple[int, int], geometry: CropGeometry) -> np.ndarray:
    """The annotated box, clipped to the image."""
    return geometry.clip(annotated_box(person, image_size), image_size)


def keypoint_box(person: dict, image_size: tuple[int, int]) -> np.ndarray:
    """The pseudo-box around the labeled keypoints."""
    keypoints = torch.tensor(person["keypoints"], dtype=torch.float64).view(1, -1, 3)
    return keypoint_boxes(keypoints, MARGIN, image_size)[0].numpy()


@dataclass(frozen=True)
class FileBoxes(BoxSource):
    """The boxes that a detector has written in COCO's result format.

    Attributes:
        files: the file of each dataset.
    """

    files: dict[str, str]

    def __call__(self, dataset: str, images: list[dict]) -> list[PersonBoxes]:
        image_ids = [image["image_id"] for image in images]
        detected = read_detections(self._file(dataset), image_ids)
        return [detected.get(image_id, NO_PERSONS) for image_id in image_ids]

    def check(self, dataset: str) -> None:
        """Checks, as far as this is quick, that the boxes of a dataset will be found."""
        read_detections(self._file(dataset))

    def _file(self, dataset: str) -> Path:
        if dataset not in self.files:
            raise ValueError(
                f"INPUT.CROPS.BOX_FILES needs a file for each of DATASETS.TEST; '{dataset}' has none of "
                f"{list(self.files.values())}"
            )
        file = Path(self.files[dataset])
        if not file.is_file():
            raise FileNotFoundError(f"INPUT.CROPS.BOX_FILES: {file} does not exist")
        return file


@dataclass(frozen=True)
class DetectorBoxes(BoxSource):
    """The boxes that a model detects; each process runs it on its share of the images.

    The detector runs anew before each evaluation. For repeated evaluations it is better to let it write a
    file once: ``tools/train_net.py --eval-only`` with TEST.TASKS ("keypoints", "bbox").

    Attributes:
        load_detector: loads a model of this project or of Detectron2 whose class 0 is persons.
        check_detector: raises FileNotFoundError or ValueError where what the detector needs is missing.
        max_pixels: as for :func:`posecore.data.images.read_image`.
    """

    load_detector: Callable[[], Predictor]
    check_detector: Callable[[], None]
    max_pixels: int = MAX_PIXELS

    def __call__(self, dataset: str, images: list[dict]) -> list[PersonBoxes]:
        self.check(dataset)
        detector = self.load_detector()
        rank, size = comm.get_rank(), comm.get_world_size()
        own = [
            PersonBoxes.from_instances(detector(read_rgb(image, self.max_pixels)))
            for image in images[rank::size]
        ]
        shares = comm.all_gather(own)
        return [shares[index % size][index // size] for index in range(len(images))]

    def check(self, dataset: str) -> None:
        """Checks, as far as this is quick, that the boxes of a dataset will be found."""
        self.check_detector()


def check_detector_files(config_file: str, weights: str) -> None:
    """Checks the two keys of INPUT.CROPS.DETECTOR.

    Raises:
        FileNotFoundError: the configuration does not exist.
        ValueError: no weights are named.
    """
    if not Path(config_file).is_file():
        raise FileNotFoundError(
            f"INPUT.CROPS.DETECTOR.CONFIG_FILE must be a detector's configuration, not '{config_file}'"
        )
    if not weights:
        raise ValueError("INPUT.CROPS.DETECTOR.WEIGHTS must be the weights of the detector, not ''")
