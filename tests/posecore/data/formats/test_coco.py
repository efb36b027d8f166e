"""The reader of annotation files: what it takes, fills in and refuses."""

import copy
import json

import numpy as np
import pytest
from detectron2.data.datasets import load_coco_json
from detectron2.structures import BoxMode

from posecore.data.formats.coco import dataset_dicts, read_coco
from posecore.structures.boxes import AREA_OF_BOX
from posecore.structures.skeleton import Skeleton, load_skeleton

ARM = Skeleton("arm", ("elbow", "wrist"), (), (("elbow", "wrist"),), (0.1, 0.1))
CONTENT = {
    "images": [
        {"id": 7, "file_name": "b.jpg", "height": 40, "width": 60},
        {"id": 3, "file_name": "a.jpg", "height": 30, "width": 50},
    ],
    "categories": [{"id": 1, "name": "person", "keypoints": ["elbow", "wrist"]}],
    "annotations": [
        {
            "id": 11,
            "image_id": 7,
            "category_id": 1,
            "bbox": [1.5, 2, 10, 20],
            "area": 100.0,
            "iscrowd": 0,
            "num_keypoints": 1,
            "keypoints": [4, 5, 2, 0, 0, 0],
        },
        {
            "id": 12,
            "image_id": 7,
            "category_id": 1,
            "bbox": [0, 0, 30, 30],
            "area": 700.0,
            "iscrowd": 1,
            "num_keypoints": 0,
            "keypoints": [0, 0, 0, 0, 0, 0],
        },
    ],
}


@pytest.fixture
def write(tmp_path):
    """Writes CONTENT after a function changed it; returns the path."""

    def writer(change=lambda content: None):
        content = copy.deepcopy(CONTENT)
        change(content)
        path = tmp_path / "people.json"
        path.write_text(json.dumps(content))
        return path

    return writer


def person(**fields):
    """Changes fields of the first annotation; None takes them away."""

    def change(content):
        for key, value in fields.items():
            content["annotations"][0][key] = value
            if value is None:
                del content["annotations"][0][key]

    return change


def test_detectron2_dicts_sorted_by_id_with_half_a_pixel_more(write):
    first, second = dataset_dicts(read_coco(write(), ARM), "images")
    assert first == {
        "file_name": "images/a.jpg",
        "image_id": 3,
        "height": 30,
        "width": 50,
        "annotations": [],
    }
    assert second["annotations"][0] == {
        "id": 11,
        "bbox": [1.5, 2, 10, 20],
        "bbox_mode": BoxMode.XYWH_ABS,
        "category_id": 0,
        "iscrowd": 0,
        "area": 100.0,
        "num_keypoints": 1,
        "keypoints": [4.5, 5.5, 2, 0.5, 0.5, 0],
    }
    assert second["annotations"][1]["iscrowd"] == 1


def test_agrees_with_detectron2_on_coco(shared):
    json_file = shared / "data" / "coco" / "person_keypoints.json"
    theirs = load_coco_json(str(json_file), "images")
    ours = dataset_dicts(read_coco(json_file, load_skeleton("coco_17")), "images")
    assert [record["file_name"] for record in ours] == [record["file_name"] for record in theirs]
    for our, their in zip(ours, theirs, strict=True):
        for key in ("keypoints", "bbox", "iscrowd"):
            assert [item[key] for item in our["annotations"]] == [item[key] for item in their["annotations"]]


def test_a_complete_file_causes_no_notice(write, caplog):
    content = read_coco(write(), ARM)
    assert content["annotations"] == CONTENT["annotations"]
    assert not caplog.records


def test_images_alone_have_no_annotations(write):
    content = read_coco(write(lambda content: content.pop("annotations")), ARM)
    assert "annotations" not in content
    assert all("annotations" not in record for record in dataset_dicts(content, ""))


@pytest.mark.parametrize(
    ("segmentation", "area"),
    [
        (None, AREA_OF_BOX * 200),
        ([], AREA_OF_BOX * 200),
        ([[10, 10, 30, 10, 30, 20, 10, 20]], 200),
        ([[10, 10, 30, 10, 30, 20, 10, 20], [0, 0, 4, 0, 4, 5, 0, 5]], 220),
        ({"size": [40, 60], "counts": [100, 37, 40 * 60 - 137]}, 37),
    ],
)
def test_a_missing_area_is_filled_in_and_said(write, caplog, segmentation, area):
    content = read_coco(write(person(area=None, segmentation=segmentation or [])), ARM)
    assert content["annotations"][0]["area"] == pytest.approx(area, rel=0.05)
    assert "1 of 2 annotations have no valid area" in caplog.text
    assert "people.json" in caplog.text


def test_a_missing_number_of_keypoints_is_counted(write, caplog):
    content = read_coco(write(person(num_keypoints=None)), ARM)
    assert content["annotations"][0]["num_keypoints"] == 1
    assert "1 of 2 annotations have no valid num_keypoints" in caplog.text


def test_a_wrong_number_of_keypoints_is_counted_anew(write, caplog):
    assert read_coco(write(person(num_keypoints=0)), ARM)["annotations"][0]["num_keypoints"] == 1
    assert "num_keypoints" in caplog.text


def test_missing_iscrowd_means_no_crowd(write):
    assert read_coco(write(person(iscrowd=None)), ARM)["annotations"][0]["iscrowd"] == 0


def test_a_person_without_keypoints_is_kept(write, caplog):
    def change(content):
        del content["annotations"][1]["keypoints"]

    content = read_coco(write(change), ARM)
    assert content["annotations"][1]["keypoints"] == [0] * 6
    assert "1 of 2 annotations have no valid keypoints" in caplog.text


def test_other_categories_are_left_out(write):
    def change(content):
        content["categories"].append({"id": 2, "name": "dog"})
        content["annotations"].append({"id": 13, "image_id": 3, "category_id": 2, "bbox": [0, 0, 1, 1]})

    content = read_coco(write(change), ARM)
    assert [item["id"] for item in content["annotations"]] == [11, 12]
    assert [category["name"] for category in content["categories"]] == ["person"]


def test_spelling_of_names_does_not_matter(write):
    names = ["Elbow", "WRIST "]
    read_coco(write(lambda content: content["categories"][0].update(keypoints=names)), ARM)


def test_a_single_category_needs_no_names(write):
    read_coco(write(lambda content: content["categories"][0].pop("keypoints")), ARM)


def test_minival_may_repeat_ids(write):
    path = write(person(id=12))
    with pytest.raises(ValueError, match=r"repeated: \[12\]"):
        read_coco(path, ARM)
    read_coco(path.rename(path.with_name("person_keypoints_minival2014.json")), ARM)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (person(keypoints=[1, 2, 2]), "annotation 11: keypoints must be 6 numbers, not 3"),
        (
            person(keypoints=[1, 2, 2, 1, float("nan"), 1]),
            "annotation 11: keypoints must be a list of x, y and v of each keypoint, finite",
        ),
        (
            person(keypoints=[1, 2, 2, 1, "3", 1]),
            "annotation 11: keypoints must be a list of x, y and v of each",
        ),
        (person(keypoints="many"), "annotation 11: keypoints must be a list .*, not 'many'"),
        (
            person(keypoints=[1, 2, 0.7, 1, 2, 1]),
            "annotation 11: keypoints: the v of keypoint 'elbow' must be 0",
        ),
        (
            person(bbox=[1, 2, float("inf"), 3]),
            "annotation 11: bbox must be .* 4 finite numbers up to 1000000, not",
        ),
        (person(bbox=[1, 2, -5, 3]), "annotation 11: bbox must be x, y, width >= 0"),
        (person(bbox=[1, 2]), r"annotation 11: bbox must be x, y, .*, not \[1, 2\]"),
        (person(bbox=None), "annotation 11: bbox is missing; it must be x, y, width"),
        (person(image_id=99), "annotation 11: no image has its image_id 99"),
        (person(image_id=None), "annotation 11: image_id is missing; it must be the id of an image"),
        (person(id=None), "annotation at index 0: id is missing; it must be an integer of 64 bits or text"),
        (person(id=12), r"annotation ids must differ; repeated: \[12\]"),
        (person(category_id=5), r"annotation 11: category_id is 5, not one of \[1\]"),
        (lambda content: content["images"][0].update(id=3), r"image ids must differ; repeated: \[3\]"),
        (lambda content: content["images"][0].update(width=0), "image 7: width must be a positive integer"),
        (
            lambda content: content["images"][0].update(height=4.5),
            "image 7: height must be a positive integer",
        ),
        (
            lambda content: content["images"][0].pop("file_name"),
            "image 7: file_name is missing; it must be a file name",
        ),
        (lambda content: content.pop("images"), "needs a list 'images'"),
        (lambda content: content.pop("categories"), "'categories' is missing or empty"),
        (
            lambda content: content["categories"].append({"id": 2, "name": "dog", "keypoints": ["tail"]}),
            r"one of the categories must have keypoints, not 2 of 2: \['person', 'dog'\]",
        ),
        (
            lambda content: content["categories"][0].update(keypoints=["wrist", "elbow"]),
            "category 'person' and skeleton 'arm' differ: keypoint 0 is 'wrist' against 'elbow'",
        ),
        (
            lambda content: content["categories"][0].update(keypoints=["elbow"]),
            "category 'person' and skeleton 'arm' differ: 1 keypoints against 2",
        ),
        (lambda content: content["images"][0].update(id="7"), "image ids must be all integers or all text"),
        (person(image_id="7"), "annotation 11: no image has its image_id '7', whose ids are integers"),
        (person(id=True), "annotation at index 0: id must be an integer of 64 bits or text, not True"),
        (person(id=2**63), "annotation at index 0|annotation 9223372036854775808: id must be an integer"),
        (person(id=1.5), "annotation at index 0: id must be an integer of 64 bits or text, not 1.5"),
        (person(category_id="dog"), r"annotation 11: category_id is 'dog', not one of \[1\]"),
        (person(iscrowd="0"), "annotation 11: iscrowd must be 0 or 1, or false or true, not '0'"),
        (person(iscrowd=2), "annotation 11: iscrowd must be 0 or 1"),
        (person(bbox=[1, 2, 1e300, 3]), "annotation 11: bbox must be .* finite numbers up to 1000000"),
        (person(keypoints=[1e300, 2, 2, 1, 2, 1]), "annotation 11: keypoints must be"),
        (person(keypoints=[True, 2, 2, 1, 2, 1]), "annotation 11: keypoints must be"),
        (lambda content: content.update(images=[]), "'images' is empty: it must list the images"),
        (
            lambda content: content["images"].append(None),
            "image at index 2 must be an object with id, file_name",
        ),
        (lambda content: content.update(annotations={}), "'annotations' must be a list, not {}"),
        (lambda content: content.update(annotations=None), "'annotations' must be a list, not None"),
        (
            lambda content: content["annotations"].append("x"),
            "annotation at index 2 must be an object with id",
        ),
        (lambda content: content.update(categories={"id": 1}), "'categories' must be a list"),
        (lambda content: content["categories"].append(None), "category at index 1 must be an object with id"),
        (
            lambda content: content["categories"].append({"id": 1}),
            r"category ids must differ; repeated: \[1\]",
        ),
        (lambda content: content["images"][0].update(file_name=7), "image 7: file_name must be a file name"),
        (lambda content: content["images"][0].update(file_name=""), "image 7: file_name must be a file name"),
        (
            lambda content: content["images"][0].update(width=True),
            "image 7: width must be a positive integer",
        ),
        (
            lambda content: [item.pop("keypoints") for item in content["annotations"]],
            "no annotation has keypoints; is this the instances file",
        ),
    ],
)
def test_what_is_wrong_is_named(write, change, message):
    path = write(change)
    with pytest.raises(ValueError, match=message) as caught:
        read_coco(path, ARM)
    assert str(path) in str(caught.value)


def test_a_truncated_file_is_named(write):
    path = write()
    path.write_text(path.read_text()[:-20])
    with pytest.raises(ValueError, match=r"people\.json is not valid JSON \(is it truncated\?\)"):
        read_coco(path, ARM)


def test_a_missing_file_is_named(tmp_path):
    with pytest.raises(FileNotFoundError, match=r"gone\.json does not exist"):
        read_coco(tmp_path / "gone.json", ARM)


def test_no_persons(write):
    content = read_coco(write(lambda content: content.update(annotations=[])), ARM)
    assert [record["annotations"] for record in dataset_dicts(content, "")] == [[], []]


def test_keypoints_are_plain_floats(write):
    """Detectron2 pickles the dicts, one by one: no arrays in them."""
    record = dataset_dicts(read_coco(write(), ARM), "")[1]
    assert all(type(value) is float for value in record["annotations"][0]["keypoints"])
    assert not any(isinstance(value, np.ndarray) for value in record["annotations"][0].values())


@pytest.mark.parametrize("convert", [str, float, lambda i: -i, lambda i: 2**62 + i])
def test_image_ids_of_any_kind(write, convert):
    def change(content):
        for item in content["images"]:
            item["id"] = convert(item["id"])
        for item in content["annotations"]:
            item["image_id"] = convert(item["image_id"])

    content = read_coco(write(change), ARM)
    assert {item["id"] for item in content["images"]} == {convert(3), convert(7)}
    kinds = {type(item["image_id"]) for item in content["annotations"]}
    assert kinds == {int if convert is float else type(convert(1))}
    assert [record["image_id"] for record in dataset_dicts(content, "")] == sorted([convert(3), convert(7)])


def test_a_category_by_its_name(write):
    content = read_coco(write(person(category_id="person")), ARM)
    assert [item["category_id"] for item in content["annotations"]] == [1, 1]


@pytest.mark.parametrize(("value", "crowd"), [(True, 1), (False, 0), (1.0, 1), (0, 0)])
def test_flags_of_crowds(write, caplog, value, crowd):
    assert read_coco(write(person(iscrowd=value)), ARM)["annotations"][0]["iscrowd"] == crowd
    assert not caplog.records


def test_null_is_no_crowd_and_said(write, caplog):
    path = write(lambda content: content["annotations"][0].update(iscrowd=None))
    assert read_coco(path, ARM)["annotations"][0]["iscrowd"] == 0
    assert "1 of 2 annotations have no valid iscrowd: taken as 0, no crowds; annotation 11" in caplog.text


AREAS = [None, 0, -3, 0.0, True, "100", [100], {}, float("nan"), float("inf"), -float("inf"), 10**400]


@pytest.mark.parametrize("area", AREAS)
def test_an_area_that_is_none_is_a_share_of_the_box(write, caplog, area):
    path = write(lambda content: content["annotations"][0].update(area=area))
    assert read_coco(path, ARM)["annotations"][0]["area"] == pytest.approx(AREA_OF_BOX * 200)
    assert "1 of 2 annotations have no valid area (a finite number above 0)" in caplog.text
    assert "annotation 11" in caplog.text


@pytest.mark.parametrize("area", AREAS)
def test_without_a_box_either_it_is_refused(write, area):
    path = write(lambda content: content["annotations"][0].update(area=area, bbox=[1, 2, 0, 5]))
    with pytest.raises(
        ValueError, match=r"people\.json: annotation 11: area must be a finite number above 0"
    ):
        read_coco(path, ARM)


def test_a_crowd_without_area_and_box_is_kept(write, caplog):
    path = write(lambda content: content["annotations"][1].update(area=0, bbox=[1, 2, 0, 5]))
    assert read_coco(path, ARM)["annotations"][1]["area"] == 0
    assert "no valid area" in caplog.text


@pytest.mark.parametrize("area", [1.0, 1e-30, 500, 1e300])
def test_areas_that_do_not_fit_the_box_are_said(write, caplog, area):
    assert read_coco(write(person(area=area)), ARM)["annotations"][0]["area"] == area
    assert "1 of 2 annotations have an area below 2% or above 105% of their box" in caplog.text


def test_boxes_without_a_size_are_said(write, caplog):
    read_coco(write(person(bbox=[1, 2, 0, 5])), ARM)
    assert "1 of 2 annotations have keypoints, but a bbox without a size" in caplog.text


@pytest.mark.parametrize("segmentation", [[[1, 2]], [1, 2, 3, 4, 5, 6], "text", {"size": [40, 60]}])
def test_a_wrong_segmentation_counts_as_none(write, caplog, segmentation):
    content = read_coco(write(person(area=None, segmentation=segmentation)), ARM)
    assert content["annotations"][0]["area"] == pytest.approx(AREA_OF_BOX * 200)
    assert "1 of 2 annotations have a segmentation that is no valid one" in caplog.text


def test_a_segmentation_beside_an_area_is_not_read(write, caplog):
    assert read_coco(write(person(segmentation="text")), ARM)["annotations"][0]["area"] == 100
    assert not caplog.records


def test_backslashes_of_windows(write, tmp_path):
    (tmp_path / "images").mkdir()
    (tmp_path / "images" / "b.jpg").touch()
    content = read_coco(write(lambda content: content["images"][0].update(file_name=r"images\b.jpg")), ARM)
    assert dataset_dicts(content, tmp_path)[1]["file_name"] == str(tmp_path / "images" / "b.jpg")
    (tmp_path / r"images\b.jpg").touch()
    assert dataset_dicts(content, tmp_path)[1]["file_name"] == str(tmp_path / r"images\b.jpg")
    with pytest.raises(FileNotFoundError, match=r"image 7: file_name 'images\\b\.jpg' has backslashes"):
        dataset_dicts(content, tmp_path / "elsewhere")


def test_deep_nesting_is_named(tmp_path):
    (tmp_path / "deep.json").write_text("[" * 100_000)
    with pytest.raises(ValueError, match=r"deep\.json is nested too deeply"):
        read_coco(tmp_path / "deep.json", ARM)
