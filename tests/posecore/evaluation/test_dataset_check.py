"""The dataset doctor: silent about good data, clear about what looks wrong."""

import json
from pathlib import Path

import cv2
import numpy as np
import pytest

from posecore.data.datasets import register_definitions
from posecore.data.synthetic import make_dataset
from posecore.evaluation.dataset_check import check_dataset


@pytest.fixture
def dataset(tmp_path):
    """Four images of one person each; a function may change the annotations before they are checked."""

    def make(change=lambda content: None):
        scene = {"people": (1, 1), "cut": 0, "objects": 0}
        (name,) = register_definitions([make_dataset(tmp_path, num_images=4, size=(60, 80), **scene)])
        path = tmp_path / "annotations" / "train.json"
        content = json.loads(path.read_text())
        change(content)
        path.write_text(json.dumps(content))
        return name

    return make


def everybody(**fields):
    """Sets fields of every annotation."""

    def change(content):
        for person in content["annotations"]:
            person.update(fields)

    return change


def normalize(content):
    for person in content["annotations"]:
        keypoints = np.array(person["keypoints"]).reshape(-1, 3) / (80, 60, 1)
        person["keypoints"] = keypoints.clip(0).reshape(-1).tolist()


def never_label_the_nose(content):
    for person in content["annotations"]:
        person["keypoints"][:3] = [0, 0, 0]


def give_unlabeled_coordinates(content):
    content["annotations"][0]["keypoints"][:3] = [5, 5, 0]


def move_a_keypoint_out(content):
    content["annotations"][0]["keypoints"][:3] = [500, 5, 2]


def move_the_boxes(content):
    for person in content["annotations"]:
        person["bbox"][0] += 300


def annotate_twice(content):
    content["annotations"] += [person | {"id": person["id"] + 100} for person in content["annotations"]]


def crowd_one_image(content):
    person = content["annotations"][0]
    content["annotations"] += [person | {"id": 100 + index} for index in range(21)]


def test_good_data_is_good(dataset):
    report = check_dataset(dataset())
    assert (report.errors, report.warnings) == ([], [])
    facts = "\n".join(report.facts)
    assert "skeleton coco_17: 17 keypoints" in facts
    assert "4 images, 0 of them without persons, at most 1 persons in one" in facts
    assert "4 images opened" in facts
    assert "AP of the ground truth as its own prediction: 100.0 %" in facts


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (never_label_the_nose, "keypoint 'nose' is never labeled"),
        (give_unlabeled_coordinates, "1 of 4 persons have coordinates at keypoints with v = 0"),
        (move_a_keypoint_out, "1 of 4 persons have labeled keypoints outside the image; annotations 1"),
        (move_the_boxes, "4 of 4 persons have boxes outside the image; annotations 1, 2, 3, 4"),
        (move_the_boxes, "4 of 4 persons have most keypoints outside their own box"),
        (everybody(bbox=[3, 3, 0, 9]), "4 of 4 persons have keypoints, but a box without a size"),
        (everybody(area=1), "4 of 4 persons have areas above the box's or below 2 % of it"),
        (everybody(area=99999), "4 of 4 persons have areas above"),
        (
            everybody(area=1e11),
            "AP nan instead of 100: COCO's evaluation leaves out areas above 1e+10 square",
        ),
        (annotate_twice, "4 persons are annotated more than once; annotations [1, 101], [2, 102]"),
        (crowd_one_image, "1 images have more than 20 persons"),
        (crowd_one_image, "COCO's evaluation counts the best 20 poses of an image"),
    ],
)
def test_warnings(dataset, change, message):
    report = check_dataset(dataset(change))
    assert any(message in warning for warning in report.warnings)


def test_a_box_without_a_size_says_nothing_of_the_area(dataset):
    report = check_dataset(dataset(everybody(bbox=[3, 3, 0, 9])))
    assert not any("areas above the box's" in warning for warning in report.warnings)


def test_shares_instead_of_pixels(dataset):
    assert "COCO's are pixels" in check_dataset(dataset(normalize)).errors[0]


def test_nobody_is_labeled(dataset):
    report = check_dataset(dataset(everybody(keypoints=[0] * 51, num_keypoints=0)))
    assert report.errors == ["no person has a labeled keypoint"]


def test_no_annotations_at_all(dataset):
    assert "no person" in check_dataset(dataset(lambda content: content["annotations"].clear())).errors[0]
    with pytest.raises(ValueError, match="has no annotations to check"):
        check_dataset(dataset(lambda content: content.pop("annotations")))


def test_missing_images_are_counted(dataset, tmp_path):
    name = dataset()
    (tmp_path / "train" / "000002.jpg").unlink()
    (error,) = check_dataset(name).errors
    assert "1 of 4 images do not exist" in error
    assert str(Path("train", "000002.jpg")) in error


def test_broken_images_and_other_sizes_are_named(dataset, tmp_path):
    name = dataset()
    (tmp_path / "train" / "000001.jpg").write_bytes(b"no image")
    cv2.imwrite(str(tmp_path / "train" / "000004.jpg"), np.zeros((9, 9, 3), np.uint8))
    first, last = check_dataset(name).errors
    assert "000001.jpg cannot be read" in first
    assert "000004.jpg is 9 wide and 9 high, but its annotation says 80 and 60" in last
    assert check_dataset(name, num_images=0).errors == []


def test_real_data(shared, tmp_path):
    definition = tmp_path / "tiny.yaml"
    folder = shared / "data" / "coco"
    definition.write_text(
        f"name: tiny\nannotations: {folder}/person_keypoints.json\nimages: {folder}\nskeleton: coco_17\n"
    )
    report = check_dataset(*register_definitions([definition]))
    assert (report.errors, report.warnings) == ([], [])


def test_images_of_one_color_are_named(dataset, tmp_path):
    name = dataset()
    cv2.imwrite(str(tmp_path / "train" / "000003.jpg"), np.full((60, 80, 3), 255, np.uint8))
    (warning,) = check_dataset(name).warnings
    assert "1 of 4 images have one single color" in warning
    assert str(Path("train", "000003.jpg")) in warning
