"""Poses that a model has found as labels: only on demand, above thresholds, in COCO's pixels."""

import json
from pathlib import Path

import pytest
from helpers.label_sources import write_image

from posecore.config.errors import UsageError
from posecore.data.importers.convert import import_dataset
from posecore.data.importers.notes import WARNING
from posecore.data.importers.options import ImportOptions

PERSON = {
    "score": 0.9,
    "box": [1.0, 2.0, 11.0, 22.0],
    "keypoints": {"nose": [5.5, 6.5, 0.8], "tail": [8, 9, 0.1]},
}


def record(name: str, *people: dict, **more: object) -> dict:
    return {"name": name, "number": None, "time": None, "height": 30, "width": 40, "people": people} | more


@pytest.fixture
def found(tmp_path: Path) -> Path:
    """The folder of a prediction on two images, one of them without persons."""
    for name in ("a", "b"):
        write_image(tmp_path / "found" / f"{name}.png")
    people = PERSON, PERSON | {"score": 0.2}
    write(tmp_path / "found", record("a.png", *people), record("b.png"))
    return tmp_path / "found"


def write(folder: Path, *records: dict) -> None:
    (folder / "poses.json").write_text(json.dumps(records))


def test_thresholds_and_pixels(found, tmp_path):
    with pytest.raises(UsageError, match="--format predictions"):
        import_dataset(found, tmp_path / "out", ImportOptions())
    summary = import_dataset(found, tmp_path / "out", ImportOptions(), format="predictions")
    assert [(split.images, split.persons) for split in summary.splits] == [(2, 1)]
    (person,) = json.loads((tmp_path / "out" / "annotations" / "train.json").read_text())["annotations"]
    assert person["keypoints"] == [5, 6, 2, 0, 0, 0]
    assert person["bbox"] == [1, 2, 10, 20]
    lines = summary.lines()
    assert any(line.startswith(WARNING) and "a model has found" in line for line in lines)
    assert any(line.startswith("left out: 1 persons with a score below 0.5") for line in lines)
    low = ImportOptions(min_score=0.1, min_keypoint_score=0.0)
    summary = import_dataset(found, tmp_path / "low", low, format="predictions")
    assert summary.splits[0].persons == 2
    assert all((person.keypoints[:, 2] == 2).all() for person in summary.dataset.images[0].persons)


def test_frames_of_a_video_stay_together(found, tmp_path):
    write(found, record("film.mp4", PERSON, number=3), record("film.mp4", PERSON, number=4))
    summary = import_dataset(found, tmp_path / "out", ImportOptions(), format="predictions")
    assert [image.name for image in summary.dataset.images] == ["film/000003.png", "film/000004.png"]
    assert {image.video for image in summary.dataset.images} == {"film.mp4"}


@pytest.mark.parametrize(
    ("records", "message"),
    [
        ([record("b.png")], "has no person"),
        ([record("a.png", PERSON | {"score": "high"})], r"image 0 \(a\.png\): score must be a number"),
        ([record("a.png", PERSON | {"box": [1]})], "box must be x0, y0, x1 and y1"),
        ([record("a.png", PERSON | {"keypoints": {"nose": [1, 2]}})], "nose must be x, y and confidence"),
        (
            [record("a.png", PERSON), record("b.png", PERSON | {"keypoints": {"tip": [1, 2, 1]}})],
            "image 1: key",
        ),
        ([record("a.png", PERSON, width=0)], "image 0: width must be a positive whole number"),
        ([{"name": "a.png"}], "image 0: people must be a list"),
        ([record("film.mp4", PERSON, number=-1)], "number must be that of a frame"),
    ],
)
def test_wrong_records(found, tmp_path, records, message):
    write(found, *records)
    with pytest.raises(ValueError, match=message):
        import_dataset(found, tmp_path / "out", ImportOptions(), format="predictions")
    assert not (tmp_path / "out").exists()
