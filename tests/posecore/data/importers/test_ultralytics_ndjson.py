"""NDJSON of Ultralytics' platform: the same labels as those of its text files, and wrong lines."""

import json
from pathlib import Path

import numpy as np
import pytest

from posecore.data.importers import recognize
from posecore.data.importers.convert import import_dataset
from posecore.data.importers.options import ImportOptions
from posecore.data.importers.ultralytics import read_ultralytics
from posecore.data.importers.ultralytics_ndjson import read_ultralytics_ndjson

HEADER = {
    "type": "dataset",
    "task": "pose",
    "class_names": {"0": "dog"},
    "kpt_shape": [3, 3],
    "flip_idx": [0, 2, 1],
    "kpt_names": {"0": ["nose", "left_ear", "right_ear"]},
}
ROW = [0, 0.5, 0.5, 0.5, 0.5, 0.3, 0.3, 2, 0.6, 0.6, 1, 0, 0, 0]


def write_ndjson(folder: Path, header: dict, *records: dict) -> Path:
    file = folder / "dogs.ndjson"
    file.write_text("\n".join(map(json.dumps, [header, *records])) + "\n\n")
    return file


def image(name: str, *rows: list, **more: object) -> dict:
    return {"type": "image", "file": name, "width": 40, "height": 30, "annotations": {"pose": rows}} | more


def test_the_same_as_text_files(yolo, tmp_path):
    file = write_ndjson(yolo, HEADER, image("a.png", ROW, ROW), image("b.png", split="val"))
    ours = read_ultralytics_ndjson(file, ImportOptions())
    theirs = read_ultralytics(yolo / "data.yaml", ImportOptions())
    assert ours.skeleton == theirs.skeleton
    first, second = ours.images
    (person,) = first.persons
    np.testing.assert_array_equal(person.keypoints, theirs.images[0].persons[0].keypoints)
    assert person.box == theirs.images[0].persons[0].box
    assert (first.source, second.split, second.persons) == (theirs.images[0].source, "val", ())
    assert recognize(file) == "ultralytics-ndjson"
    summary = import_dataset(file, tmp_path / "out", ImportOptions())
    assert [(split.name, split.images) for split in summary.splits] == [("train", 1), ("val", 1)]


@pytest.mark.parametrize(("values", "row"), [(3, ROW), (2, [*ROW[:5], 0.3, 0.3, 0.6, 0.6])])
def test_a_shape_that_is_not_stated(yolo, values, row):
    header = {key: value for key, value in HEADER.items() if key in ("task", "class_names")}
    dataset = read_ultralytics_ndjson(write_ndjson(yolo, header, image("a.png", row)), ImportOptions())
    assert len(dataset.skeleton.keypoints) == (3 if values == 3 else 2)


@pytest.mark.parametrize(
    ("header", "record", "message"),
    [
        (HEADER | {"task": "detect"}, image("a.png"), "line 1 must describe a dataset of the task pose"),
        ({"class_names": ["dog"]}, image("a.png", ROW[:-2]), "line 1 has no kpt_shape"),
        (HEADER, image("a.png", ROW[:-1]), "line 2, pose 1 must have 14 numbers"),
        (HEADER, image("a.png", [*ROW[:-1], "x"]), "line 2: annotations.pose must be a number"),
        (HEADER, image("a.png", [*ROW[:5], 1.5, *ROW[6:]]), "line 2, pose 1: labeled keypoints must be"),
        (HEADER, image("", ROW), "line 2: file must be the name of an image"),
        (HEADER, image("a.png", ROW, split=3), "line 2: split must be the name"),
        (HEADER, image("a.png") | {"annotations": [1]}, "line 2: annotations must be an object"),
    ],
)
def test_wrong_lines(yolo, header, record, message):
    with pytest.raises(ValueError, match=message):
        read_ultralytics_ndjson(write_ndjson(yolo, header, record), ImportOptions())


def test_a_file_that_is_cut_off(yolo):
    file = write_ndjson(yolo, HEADER, image("a.png", ROW))
    file.write_text(file.read_text()[:-20])
    with pytest.raises(ValueError, match=r"dogs\.ndjson, line 2 is not valid JSON"):
        read_ultralytics_ndjson(file, ImportOptions())
    write_ndjson(yolo, HEADER)
    with pytest.raises(ValueError, match="must have a line that describes the dataset"):
        read_ultralytics_ndjson(file, ImportOptions())
