"""Boxes of detected persons for top-down models: :class:`PersonBoxes`, and files of them."""

import json
from collections import defaultdict
from collections.abc import Collection
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from detectron2.structures import Instances

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
    def from_detections(cls, detections: list[dict[str, Any]]) -> "PersonBoxes":
        """The boxes of one image in COCO's result format, each with bbox (x, y, width, height) and score."""
        corners = np.array([item["bbox"] for item in detections], dtype=np.float64).reshape(-1, 4)
        corners[:, 2:] += corners[:, :2]
        return cls(corners, np.array([item["score"] for item in detections], dtype=np.float64))


def read_detections(file: str | Path, image_ids: Collection | None = None) -> dict[Any, PersonBoxes]:
    """The persons of each image from a file in COCO's result format, as detectors write it.

    The file is a list of detections with image_id, bbox (x, y, width, height), score and category_id. Where
    it has several categories, all but persons (1, as in COCO) are left out.

    Args:
        file: JSON.
        image_ids: of the dataset's images, which the file's must be among; None to accept any.

    Returns:
        image id -> boxes, in the order of the file. Images without detections are missing.

    Raises:
        FileNotFoundError, ValueError: the file is missing or wrong; the message names the file, the detection
            and what would be right.
    """
    path = Path(file)
    if not path.is_file():
        raise FileNotFoundError(f"detection file {path} does not exist")
    try:
        detections = json.loads(path.read_bytes())
    except ValueError as error:
        raise ValueError(f"{path} is not valid JSON (is it truncated?): {error}") from error
    if not isinstance(detections, list):
        raise ValueError(
            f"{path} must be a list of detections with image_id, bbox and score, as COCO's result files are"
        )
    for index, detection in enumerate(detections):
        try:
            _check(detection)
        except ValueError as error:
            raise ValueError(f"{path}: detection {index}: {error}") from error
    categories = {item.get("category_id", _PERSON) for item in detections}
    if len(categories) > 1:
        detections = [item for item in detections if item.get("category_id", _PERSON) == _PERSON]
    grouped = defaultdict(list)
    for item in detections:
        grouped[item["image_id"]].append(item)
    if image_ids is not None and (unknown := [key for key in grouped if key not in set(image_ids)]):
        raise ValueError(
            f"{path}: {len(unknown)} of its {len(grouped)} images are not in the dataset, image_id "
            f"{', '.join(map(repr, unknown[:5]))}; was it made for another one?"
        )
    return {key: PersonBoxes.from_detections(items) for key, items in grouped.items()}


def _check(detection: Any) -> None:
    if not isinstance(detection, dict) or (missing := {"image_id", "bbox", "score"} - detection.keys()):
        missing = missing if isinstance(detection, dict) else {"image_id", "bbox", "score"}
        raise ValueError(f"it lacks {sorted(missing)}")
    box, score = detection["bbox"], detection["score"]
    if not isinstance(box, list) or len(box) != 4 or not all(map(_finite, box)) or min(box[2:]) < 0:
        raise ValueError(f"bbox must be x, y, width >= 0, height >= 0, finite, not {box}")
    if not _finite(score):
        raise ValueError(f"score must be a finite number, not {score!r}")


def _finite(value: Any) -> bool:
    return isinstance(value, int | float) and bool(np.isfinite(value))
