"""Boxes of a file, by the names of images."""

import json
from pathlib import Path

import numpy as np
import pytest

from posecore.config.merge import UsageError
from posecore.inference.image_boxes import ImageBoxes
from posecore.inference.video import Source, SourceImage

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


def images(*names: str) -> list[Source]:
    return [Source(name, "image", name) for name in names]


def test_text_comes_before_numbers(tmp_path: Path) -> None:
    boxes = read(tmp_path, [detection("000012")])
    boxes.check(images("000012.jpg", "000013.jpg"))
    assert len(boxes(SourceImage(IMAGE, "000012.jpg"))) == 1
    assert len(boxes(SourceImage(IMAGE, "000013.jpg"))) == 0
    both = read(tmp_path, [detection("000012"), detection(12), detection(12)])
    assert len(both(SourceImage(IMAGE, "000012.jpg"))) == 1


def test_names_with_folders_are_known_apart(tmp_path: Path) -> None:
    boxes = read(tmp_path, [detection("a/1"), detection("b/1"), detection("b/1")])
    boxes.check(images("a/1.jpg", "b/1.jpg"))
    assert [len(boxes(SourceImage(IMAGE, name))) for name in ("a/1.jpg", "b/1.jpg")] == [1, 2]
    with pytest.raises(
        UsageError, match=r"images a/1\.jpg and b/1\.jpg would both get the boxes of image_id 1"
    ):
        read(tmp_path, [detection(1)]).check(images("a/1.jpg", "b/1.jpg"))


def test_boxes_that_fit_no_source(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match=r"has nothing of image 12; it has \[13\]"):
        read(tmp_path, [detection(13)]).check(images("12.jpg", "14.jpg"))
    with pytest.raises(UsageError, match=r"do not fit the video a\.mp4; give the poses\.json"):
        read(tmp_path, [detection(1)]).check([Source("a.mp4", "video", "a.mp4")])
    poses = [{"name": "a.mp4", "number": 0, "people": []}]
    read(tmp_path, poses).check([Source("a.mp4", "video", "a.mp4")])
    with pytest.raises(UsageError, match=r"has nothing of image b\.mp4"):
        read(tmp_path, poses).check([Source("b.mp4", "video", "b.mp4")])


@pytest.mark.parametrize(
    "record",
    [
        None,
        3,
        {"name": "a.png", "people": []},
        {"name": ["a"], "number": None, "people": []},
        {"name": "a.png", "number": True, "people": []},
        {"name": "a.png", "number": None, "people": None},
        {"name": "a.png", "number": None, "people": [{"score": 1}]},
        {"name": "a.png", "number": None, "people": [{"score": 1, "box": [1, 2, 3]}]},
        {"name": "a.png", "number": None, "people": [{"score": float("nan"), "box": [1, 2, 3, 4]}]},
        {"name": "a.png", "number": None, "people": [{"score": 1, "box": ["x", 2, 3, 4]}]},
    ],
)
def test_broken_records_are_named(tmp_path: Path, record: object) -> None:
    good = {"name": "b.png", "number": None, "people": []}
    with pytest.raises(ValueError, match=r"boxes\.json: record 1 must have name, number and people"):
        read(tmp_path, [good, record])


def test_a_cut_file_is_named(tmp_path: Path) -> None:
    (tmp_path / "boxes.json").write_text('[{"name": "a')
    with pytest.raises(ValueError, match=r"boxes\.json is not valid JSON"):
        ImageBoxes.read(tmp_path / "boxes.json")
