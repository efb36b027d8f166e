"""Boxes of detected persons for top-down models: :class:`PersonBoxes`, and files of them."""

from collections import defaultdict
from collections.abc import Collection, Mapping, Sequence, Sized
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from detectron2.structures import Instances
from pydantic import Field

from posecore.data.formats.document import Box, Entry, Id, Number, load_json, validated

# The category of persons in COCO.
_PERSON = 1


@dataclass(frozen=True)
class PersonBoxes:
    """The M persons of one image; M may be 0.

    Attributes:
        boxes: (M, 4) float, (x1, y1, x2, y2) in continuous pixels.
        scores: (M,) float; 1 for boxes without a score.

    Raises:
        ValueError: another shape, or a number that is not finite.
    """

    boxes: np.ndarray
    scores: np.ndarray

    def __post_init__(self) -> None:
        if self.boxes.ndim != 2 or self.boxes.shape[1] != 4 or self.scores.shape != self.boxes.shape[:1]:
            raise ValueError(
                f"boxes must be (M, 4) and scores (M,), not {self.boxes.shape} and {self.scores.shape}"
            )
        if not (np.isfinite(self.boxes).all() and np.isfinite(self.scores).all()):
            raise ValueError("boxes and scores must be finite")

    def __len__(self) -> int:
        return len(self.boxes)

    @classmethod
    def from_instances(cls, instances: Instances) -> "PersonBoxes":
        """The persons (class 0) among the detections of a model: pred_boxes and scores, on any device."""
        found = instances.to("cpu")
        found = found[found.pred_classes == 0]
        return cls(found.pred_boxes.tensor.double().numpy(), found.scores.double().numpy())

    @classmethod
    def from_detections(cls, detections: "Sequence[DetectionEntry]") -> "PersonBoxes":
        """The boxes of one image in COCO's result format."""
        corners = np.array([item.bbox for item in detections], dtype=np.float64).reshape(-1, 4)
        corners[:, 2:] += corners[:, :2]
        return cls(corners, np.array([item.score for item in detections], dtype=np.float64))


class DetectionEntry(Entry):
    """A detection in COCO's result format."""

    image_id: Id = Field(description="the id of an image, an integer or text")
    bbox: Box
    score: Number = Field(description="a finite number")
    category_id: Id = _PERSON


def read_detections(file: str | Path, image_ids: Collection | None = None) -> dict[int | str, PersonBoxes]:
    """The persons of each image from a file in COCO's result format, as detectors write it.

    The file is a list of detections with image_id, bbox (x, y, width, height), score and category_id. Where
    it has several categories, all but persons (1, as in COCO) are left out.

    Args:
        file: JSON.
        image_ids: of the dataset's images, which the file's must be among, and some of which must have boxes;
            None to accept any.

    Returns:
        image id -> boxes, in the order of the file. Images without detections are missing.

    Raises:
        FileNotFoundError, ValueError: the file is missing or wrong; the message names the file, the detection
            and what would be right.
    """
    detections = load_json(file, "detection file")
    try:
        if not isinstance(detections, list):
            raise ValueError(
                "it must be a list of detections with image_id, bbox and score, as COCO's result files are"
            )
        entries = list(validated(detections, DetectionEntry, "detection"))
        categories = {entry.category_id for entry in entries}
        grouped: dict[int | str, list[DetectionEntry]] = defaultdict(list)
        for entry in entries:
            if entry.category_id == _PERSON or len(categories) == 1:
                grouped[entry.image_id].append(entry)
        if image_ids is not None:
            _check_images(grouped, image_ids, len(detections))
    except ValueError as error:
        raise ValueError(f"{file}: {error}") from error
    return {image_id: PersonBoxes.from_detections(own) for image_id, own in grouped.items()}


def _check_images(grouped: Mapping[int | str, Sized], image_ids: Collection, num_detections: int) -> None:
    known = set(image_ids)
    if unknown := [key for key in grouped if key not in known]:
        raise ValueError(
            f"{len(unknown)} of its {len(grouped)} images are not in the dataset, image_id "
            f"{', '.join(map(repr, unknown[:5]))}; was it made for another one?"
        )
    if not grouped:
        raise ValueError(
            f"no image has boxes: the file has {num_detections} detections, and those of persons must have "
            f"category_id {_PERSON}, or all the same one"
        )
