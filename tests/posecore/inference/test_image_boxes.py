"""Boxes of a file, by the names of images."""

import json
from pathlib import Path

import numpy as np
import pytest

from posecore.config.merge import UsageError
from posecore.inference.image_boxes import ImageBoxes
from posecore.inference.video import SourceImage

IMAGE = np.zeros((4, 4, 3), np.uint8)


def read(folder: Path, content: object) -> ImageBoxes:
    (folder / "boxes.json").write_text(json.dumps(content))
    return ImageBoxes.read(folder / "boxes.json")


def detection(image_id: object) -> dict:
    return {"image_id": image_id, "bbox": [1, 2, 3, 4], "score": 0.5, "category_id": 1}


def test_detections_by_number(tmp_path: Path) -> None:
    boxes = read(tmp_path, [detection(12)])
    assert boxes(SourceImage(IMAGE, "folder/000012.jpg")).boxes.tolist() == [[1, 2, 4, 6]]
    assert len(boxes(SourceImage(IMAGE, "000013.jpg"))) == 0


def test_detections_by_name(tmp_path: Path) -> None:
    boxes = read(tmp_path, [detection("dots")])
    assert boxes(SourceImage(IMAGE, "dots.png")).scores.tolist() == [0.5]
    with pytest.raises(UsageError, match=r"boxes\.json has nothing of image other; it has \['dots'\]"):
        boxes(SourceImage(IMAGE, "other.png"))


def test_an_earlier_prediction(tmp_path: Path) -> None:
    person = {"score": 0.75, "box": [1, 2, 3, 4], "keypoints": {}}
    boxes = read(
        tmp_path,
        [
            {"name": "a.mp4", "number": 0, "people": []},
            {"name": "a.mp4", "number": 1, "people": [person]},
        ],
    )
    assert len(boxes(SourceImage(IMAGE, "a.mp4", 0))) == 0
    assert boxes(SourceImage(IMAGE, "a.mp4", 1)).boxes.tolist() == [[1, 2, 3, 4]]
    with pytest.raises(UsageError, match="has nothing of image"):
        boxes(SourceImage(IMAGE, "a.mp4", 2))


def test_a_file_that_is_neither(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="must be a list of detections"):
        read(tmp_path, {"people": 3})
    with pytest.raises(FileNotFoundError, match=r"gone\.json does not exist"):
        ImageBoxes.read(tmp_path / "gone.json")
