"""Boxes of persons from a file, for images by their names (:class:`ImageBoxes`)."""

import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from posecore.config.merge import UsageError
from posecore.data import PersonBoxes, read_detections
from posecore.inference.video import SourceImage

# How many of a file's images an error message names.
_NAMED = 5


@dataclass(frozen=True)
class ImageBoxes:
    """The boxes of a file by image.

    Attributes:
        file: for messages.
        boxes: by the image's name and number in its video where the file is a poses.json, else by image_id.
        by_image_id: whether the keys are image_ids.
    """

    file: Path
    boxes: Mapping[Any, PersonBoxes]
    by_image_id: bool

    @classmethod
    def read(cls, file: Path) -> "ImageBoxes":
        """Reads a poses.json of tools/predict.py, or detections in COCO's result format.

        Raises:
            FileNotFoundError, ValueError: the file is missing, or is neither; names it.
        """
        content = json.loads(file.read_bytes()) if file.is_file() else None
        if isinstance(content, list) and any("people" in item for item in content):
            people = {(item["name"], item["number"]): _person_boxes(item["people"]) for item in content}
            return cls(file, people, by_image_id=False)
        return cls(file, read_detections(file), by_image_id=True)

    def __call__(self, frame: SourceImage) -> PersonBoxes:
        """The boxes of an image.

        An image_id is the image's name without its ending, or the number that this name is.

        Raises:
            UsageError: the file does not know the image.
        """
        if not self.by_image_id:
            return self._find((frame.name, frame.number))
        stem = Path(frame.name).stem
        if stem.isdigit():
            # Detectors write nothing for an image without persons.
            return self.boxes.get(int(stem), PersonBoxes(np.zeros((0, 4)), np.zeros(0)))
        return self._find(stem)

    def _find(self, key: Any) -> PersonBoxes:
        if key not in self.boxes:
            raise UsageError(
                f"--boxes: {self.file} has nothing of image {key}; it has {list(self.boxes)[:_NAMED]}"
            )
        return self.boxes[key]


def _person_boxes(people: list[dict[str, Any]]) -> PersonBoxes:
    boxes = np.array([person["box"] for person in people], dtype=float).reshape(-1, 4)
    return PersonBoxes(boxes, np.array([person["score"] for person in people], dtype=float))
