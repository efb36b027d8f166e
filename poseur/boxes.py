"""Whose boxes crops are cut from: the ground truth's, those of a detector's file, or a detector's own."""

from abc import ABC, abstractmethod
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from detectron2.config import CfgNode
from detectron2.structures import BoxMode
from detectron2.utils import comm

from posecore.config import get_cfg
from posecore.config.merge import merge_config
from posecore.config.options import choice
from posecore.data.mapper import MARGIN, read_rgb
from posecore.data.person_boxes import PersonBoxes, read_detections
from posecore.inference.predictor import Predictor
from posecore.structures.boxes import keypoint_boxes
from poseur.crops import CropGeometry

NOBODY = PersonBoxes(np.zeros((0, 4)), np.zeros(0))


class BoxSource(ABC):
    """Knows or finds the persons of a dataset's images."""

    @abstractmethod
    def __call__(self, dataset: str, images: list[dict]) -> list[PersonBoxes]:
        """The persons of each image.

        Args:
            dataset: one of DATASETS.TEST.
            images: its records, as :func:`posecore.data.load_dataset` returns them.
        """

    @abstractmethod
    def check(self, dataset: str) -> None:
        """
        Raises:
            FileNotFoundError, ValueError: the boxes of this dataset cannot be had.
        """


@dataclass(frozen=True)
class GroundTruthBoxes(BoxSource):
    """The boxes of the persons that a dataset's annotations know.

    Crowds, persons without labeled keypoints and boxes without area are left out.

    Attributes:
        kind: "annotated", or "keypoints" for pseudo-boxes around the labeled keypoints, as INPUT.BOXES.
        geometry: tells where images end.
        clip: whether boxes are cut there.
    """

    kind: str
    geometry: CropGeometry
    clip: bool = True

    def __post_init__(self) -> None:
        if self.kind not in ("keypoints", "annotated"):
            raise ValueError(f"INPUT.BOXES must be 'keypoints' or 'annotated', not '{self.kind}'")

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
        pass

    def people(self, image: dict) -> list[tuple[dict, np.ndarray]]:
        """The annotations of the persons of a dataset dict, each with its box (4,)."""
        people = [
            person
            for person in image["annotations"]
            if not person["iscrowd"] and person["num_keypoints"] > 0 and person["area"] > 0
        ]
        boxes = [self._box(person, (image["height"], image["width"])) for person in people]
        return [pair for pair in zip(people, boxes, strict=True) if (pair[1][2:] > pair[1][:2]).all()]

    def _box(self, person: dict, size: tuple[int, int]) -> np.ndarray:
        if self.kind == "keypoints":
            keypoints = torch.tensor(person["keypoints"], dtype=torch.float64).view(1, -1, 3)
            return keypoint_boxes(keypoints, MARGIN, size)[0].numpy()
        box = np.array(BoxMode.convert(person["bbox"], person["bbox_mode"], BoxMode.XYXY_ABS), dtype=float)
        return self.geometry.clip(box, size) if self.clip else box


@dataclass(frozen=True)
class FileBoxes(BoxSource):
    """The boxes that a detector has written in COCO's result format.

    Attributes:
        files: by dataset.
    """

    files: dict[str, str]

    def __call__(self, dataset: str, images: list[dict]) -> list[PersonBoxes]:
        self.check(dataset)
        image_ids = [image["image_id"] for image in images]
        found = read_detections(self.files[dataset], image_ids)
        return [found.get(image_id, NOBODY) for image_id in image_ids]

    def check(self, dataset: str) -> None:
        if dataset not in self.files:
            raise ValueError(
                f"INPUT.CROPS.BOX_FILES needs a file for each of DATASETS.TEST; '{dataset}' has none of "
                f"{list(self.files.values())}"
            )
        if not Path(self.files[dataset]).is_file():
            raise FileNotFoundError(f"INPUT.CROPS.BOX_FILES: {self.files[dataset]} does not exist")


@dataclass(frozen=True)
class DetectorBoxes(BoxSource):
    """The boxes that a model finds, each process looking at its share of the images.

    It looks at them again whenever it is asked. For repeated evaluations let it write a file once:
    ``tools/train_net.py --eval-only`` with TEST.TASKS ("keypoints", "bbox").

    Attributes:
        config_file: of any model of this project or of Detectron2 whose class 0 is persons.
        weights: as MODEL.WEIGHTS can be.
        device: where it runs.
    """

    config_file: str
    weights: str
    device: str

    def __call__(self, dataset: str, images: list[dict]) -> list[PersonBoxes]:
        self.check(dataset)
        overrides = ["MODEL.WEIGHTS", self.weights, "MODEL.DEVICE", self.device]
        cfg = merge_config(get_cfg(), self.config_file, overrides)
        detector = Predictor.from_config(cfg)
        rank, size = comm.get_rank(), comm.get_world_size()
        own = [PersonBoxes.from_instances(detector(read_rgb(image))) for image in images[rank::size]]
        shares = comm.all_gather(own)
        return [shares[index % size][index // size] for index in range(len(images))]

    def check(self, dataset: str) -> None:
        if not Path(self.config_file).is_file():
            raise FileNotFoundError(
                "INPUT.CROPS.DETECTOR.CONFIG_FILE must be a detector's configuration, not "
                f"'{self.config_file}'"
            )
        if not self.weights:
            raise ValueError("INPUT.CROPS.DETECTOR.WEIGHTS must be the weights of the detector")


def build_box_source(cfg: CfgNode, ground_truth: GroundTruthBoxes) -> BoxSource:
    """What INPUT.CROPS.BOXES asks for."""
    node = cfg.INPUT.CROPS
    options: dict[str, Callable[[], BoxSource]] = {
        "ground_truth": lambda: ground_truth,
        "file": lambda: FileBoxes(dict(zip(cfg.DATASETS.TEST, node.BOX_FILES, strict=False))),
        "detector": lambda: DetectorBoxes(node.DETECTOR.CONFIG_FILE, node.DETECTOR.WEIGHTS, cfg.MODEL.DEVICE),
    }
    return choice(cfg, "INPUT.CROPS.BOXES", options)()
