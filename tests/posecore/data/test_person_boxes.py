"""Boxes that somebody has found already."""

import json

import numpy as np
import pytest
import torch
from detectron2.structures import Boxes, Instances

from posecore.data.person_boxes import PersonBoxes, read_detections

GOOD = {"image_id": 7, "category_id": 1, "bbox": [1, 2.5, 3, 4], "score": 0.5}


@pytest.fixture
def write(tmp_path):
    def write(*detections):
        path = tmp_path / "found.json"
        path.write_text(json.dumps(detections))
        return path

    return write


def test_boxes_by_image(write):
    found = read_detections(write(GOOD, {**GOOD, "image_id": 9}, {**GOOD, "score": 0.25}), [7, 8, 9])
    assert found.keys() == {7, 9}
    assert found[7].boxes.tolist() == [[1, 2.5, 4, 6.5]] * 2
    assert found[7].scores.tolist() == [0.5, 0.25]
    assert len(found[9]) == 1


def test_a_real_detector(shared):
    found = read_detections(shared / "data" / "coco" / "person_detections.json")
    assert sum(map(len, found.values())) == 118
    assert found.keys() == {785, 40083, 196141, 197388}


def test_who_is_a_person(write):
    other = {**GOOD, "category_id": 18}
    assert len(read_detections(write(GOOD, other))[7]) == 1
    assert len(read_detections(write(other))[7]) == 1, "the only category there is"
    without = {key: value for key, value in GOOD.items() if key != "category_id"}
    assert len(read_detections(write(without))[7]) == 1
    assert read_detections(write()) == {}


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"bbox": [1, 2, float("nan"), 4]}, r"detection at index 1: bbox must be x, y, width >= 0.*nan"),
        ({"bbox": [1, 2, -3, 4]}, "detection at index 1: bbox must be"),
        ({"bbox": [1, 2, 3]}, "detection at index 1: bbox must be"),
        ({"bbox": "1 2 3 4"}, "detection at index 1: bbox must be"),
        ({"score": float("inf")}, "detection at index 1: score must be a finite number, not inf"),
        ({"score": None}, "detection at index 1: score must be"),
        ({"bbox": [1, 2, True, 4]}, "detection at index 1: bbox must be"),
        ({"bbox": {"x": 1}}, "detection at index 1: bbox must be"),
        ({"score": True}, "detection at index 1: score must be a finite number, not True"),
        ({"image_id": None}, "detection at index 1: image_id must be the id of an image"),
        ({"image_id": [7]}, "detection at index 1: image_id must be the id of an image"),
        ({"category_id": []}, "detection at index 1: category_id must be an integer of 64 bits or text"),
        ({"image_id": "7"}, "1 of its 2 images are not in the dataset, image_id '7'"),
        ({"image_id": 12}, "1 of its 2 images are not in the dataset, image_id 12"),
    ],
)
def test_wrong_detections(write, change, message):
    with pytest.raises(ValueError, match=message) as error:
        read_detections(write(GOOD, {**GOOD, **change}), [7])
    assert "found.json" in str(error.value)


def test_a_dataset_of_which_no_image_has_boxes(write):
    with pytest.raises(ValueError, match=r"found\.json: no image has boxes: the file has 0 detections"):
        read_detections(write(), [7, 8])
    others = [{**GOOD, "category_id": category} for category in (18, 19)]
    with pytest.raises(ValueError, match=r"found\.json: no image has boxes: the file has 2 detections"):
        read_detections(write(*others), [7, 8])


def test_text_ids(write):
    found = read_detections(write({**GOOD, "image_id": "a"}, {**GOOD, "image_id": 7.0}))
    assert found.keys() == {"a", 7}


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ('[{"image_id": 7, "bbox', "truncated"),
        ('{"images": []}', "must be a list of detections"),
        ('[{"image_id": 7}]', "detection at index 0: bbox is missing; it must be x, y, width"),
        ("null", "must be a list of detections"),
        ("[null]", "detection at index 0 must be an object"),
        ("[" * 100_000, "nested too deeply"),
        ("[3]", "detection at index 0 must be an object with image_id, bbox, score, not 3"),
    ],
)
def test_wrong_files(tmp_path, content, message):
    path = tmp_path / "found.json"
    path.write_text(content)
    with pytest.raises(ValueError, match=message) as error:
        read_detections(path)
    assert "found.json" in str(error.value)


def test_no_file(tmp_path):
    with pytest.raises(FileNotFoundError, match=r"detection file .*gone\.json does not exist"):
        read_detections(tmp_path / "gone.json")


def test_of_a_model():
    found = Instances((50, 60))
    found.pred_boxes = Boxes(torch.tensor([[1.0, 2, 3, 4], [5, 6, 7, 8]]))
    found.scores = torch.tensor([0.25, 0.5])
    found.pred_classes = torch.tensor([17, 0])
    people = PersonBoxes.from_instances(found)
    assert (people.boxes.tolist(), people.scores.tolist()) == ([[5, 6, 7, 8]], [0.5])


@pytest.mark.parametrize(
    ("boxes", "scores"),
    [(np.zeros((2, 4)), np.zeros(3)), (np.zeros(4), np.zeros(1)), (np.full((1, 4), np.nan), np.zeros(1))],
)
def test_shapes_and_numbers_are_checked(boxes, scores):
    with pytest.raises(ValueError, match=r"must be (\(M, 4\)|finite)"):
        PersonBoxes(boxes, scores)
