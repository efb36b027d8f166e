"""Whose boxes crops are cut from: the truth's, those of a detector's file, or a detector's own."""

import logging
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
import torch
from detectron2.config import CfgNode
from detectron2.structures import BoxMode
from detectron2.utils import comm

from posecore.boxes import keypoint_boxes
from posecore.config import get_cfg
from posecore.data.mapper import MARGIN, read_rgb
from posecore.data.person_boxes import PersonBoxes, read_detections
from posecore.engine.setup import merge_config
from posecore.options import choice
from posecore.predictor import Predictor
from poseur.crops import CropGeometry

logger = logging.getLogger(__name__)

# From the name of a dataset and its pictures to the persons of each.
BoxSource = Callable[[str, list[dict]], list[PersonBoxes]]


@dataclass(frozen=True)
class TruthBoxes:
    """The boxes of the persons that a dataset's annotations know.

    Crowds, persons without labelled keypoints and boxes without area are left out.

    Attributes:
        kind: "annotated", or "keypoints" for pseudo-boxes around the labelled keypoints, as INPUT.BOXES.
        geometry: tells where pictures end.
        clip: whether boxes are cut there.
    """

    kind: str
    geometry: CropGeometry
    clip: bool = True

    def __post_init__(self) -> None:
        if self.kind not in ("keypoints", "annotated"):
            raise ValueError(f"INPUT.BOXES must be 'keypoints' or 'annotated', not '{self.kind}'")

    def __call__(self, dataset: str, pictures: list[dict]) -> list[PersonBoxes]:
        """
        Raises:
            ValueError: the dataset has no annotations.
        """
        if any("annotations" not in picture for picture in pictures):
            raise ValueError(
                f"dataset '{dataset}' has no annotations to take boxes from: set INPUT.CROPS.BOXES to 'file' "
                "or 'detector'"
            )
        boxes = [np.array([box for _, box in self.people(picture)]).reshape(-1, 4) for picture in pictures]
        return [PersonBoxes(own, np.ones(len(own))) for own in boxes]

    def people(self, picture: dict) -> list[tuple[dict, np.ndarray]]:
        """The annotations of the persons of a dataset dict, each with its box (4,)."""
        people = [
            person
            for person in picture["annotations"]
            if not person["iscrowd"] and person["num_keypoints"] > 0 and person["area"] > 0
        ]
        boxes = [self._box(person, (picture["height"], picture["width"])) for person in people]
        return [pair for pair in zip(people, boxes, strict=True) if (pair[1][2:] > pair[1][:2]).all()]

    def _box(self, person: dict, size: tuple[int, int]) -> np.ndarray:
        if self.kind == "keypoints":
            keypoints = torch.tensor(person["keypoints"], dtype=torch.float64).view(1, -1, 3)
            return keypoint_boxes(keypoints, MARGIN, size)[0].numpy()
        box = np.array(BoxMode.convert(person["bbox"], person["bbox_mode"], BoxMode.XYXY_ABS), dtype=float)
        return self.geometry.clip(box, size) if self.clip else box


@dataclass(frozen=True)
class FileBoxes:
    """The boxes that a detector has written in COCO's result format.

    Attributes:
        files: by dataset.
    """

    files: dict[str, str]

    def __call__(self, dataset: str, pictures: list[dict]) -> list[PersonBoxes]:
        """
        Raises:
            FileNotFoundError, ValueError: a file is missing or wrong.
        """
        if dataset not in self.files:
            raise ValueError(f"INPUT.CROPS.BOX_FILES has no file for dataset '{dataset}': {self.files}")
        image_ids = [picture["image_id"] for picture in pictures]
        found = read_detections(self.files[dataset], image_ids)
        return [found.get(image_id, NOBODY) for image_id in image_ids]


@dataclass
class DetectorBoxes:
    """The boxes that a model finds, each process looking at its share of the pictures.

    It looks at them again whenever it is asked. For repeated evaluations let it write a file once:
    ``tools/train_net.py --eval-only`` with TEST.TASKS ("keypoints", "bbox").

    Attributes:
        config_file: of any model of this project or of Detectron2 whose class 0 is persons.
        weights: as MODEL.WEIGHTS can be; "" for the configuration's own.
        device: where it runs.
    """

    config_file: str
    weights: str
    device: str
    _predictor: Predictor | None = field(default=None, repr=False)

    def __call__(self, dataset: str, pictures: list[dict]) -> list[PersonBoxes]:
        """
        Raises:
            UsageError: the configuration is missing or wrong.
            CheckpointError: the weights are.
        """
        detector = self._load()
        rank, size = comm.get_rank(), comm.get_world_size()
        own = [PersonBoxes.from_instances(detector(read_rgb(picture))) for picture in pictures[rank::size]]
        shares = comm.all_gather(own)
        found = [shares[index % size][index // size] for index in range(len(pictures))]
        logger.info("%s: %d persons detected by %s", dataset, sum(map(len, found)), self.config_file)
        return found

    def _load(self) -> Predictor:
        if self._predictor is None:
            weights = ["MODEL.WEIGHTS", self.weights] if self.weights else []
            cfg = merge_config(get_cfg(), self.config_file, [*weights, "MODEL.DEVICE", self.device])
            self._predictor = Predictor.from_config(cfg)
        return self._predictor


NOBODY = PersonBoxes(np.zeros((0, 4)), np.zeros(0))


def build_box_source(cfg: CfgNode, truth: TruthBoxes) -> BoxSource:
    """What INPUT.CROPS.BOXES asks for.

    Raises:
        FileNotFoundError, ValueError: a key is wrong, or a file that it names does not exist.
    """
    options: dict[str, Callable[[], BoxSource]] = {
        "truth": lambda: truth,
        "file": lambda: _file_boxes(cfg),
        "detector": lambda: _detector(cfg),
    }
    return choice(cfg, "INPUT.CROPS.BOXES", options)()


def _file_boxes(cfg: CfgNode) -> FileBoxes:
    names, files = cfg.DATASETS.TEST, cfg.INPUT.CROPS.BOX_FILES
    if len(names) != len(files):
        raise ValueError(
            f"INPUT.CROPS.BOX_FILES needs a file for each of DATASETS.TEST {names}, not {tuple(files)}"
        )
    return FileBoxes(dict(zip(names, files, strict=True)))


def _detector(cfg: CfgNode) -> DetectorBoxes:
    node = cfg.INPUT.CROPS.DETECTOR
    if not Path(node.CONFIG_FILE).is_file():
        raise FileNotFoundError(
            f"INPUT.CROPS.DETECTOR.CONFIG_FILE must be the detector's configuration; there is no file "
            f"'{node.CONFIG_FILE}'"
        )
    return DetectorBoxes(node.CONFIG_FILE, node.WEIGHTS, cfg.MODEL.DEVICE)
