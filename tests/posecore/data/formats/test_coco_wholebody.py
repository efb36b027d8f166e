"""The reader of COCO-WholeBody's files: five lists of keypoints become one."""

import pytest
from helpers.files import write_changed

from posecore.data import load_dataset, register
from posecore.data.formats.coco_wholebody import read_wholebody, split_parts
from posecore.structures.skeleton import load_skeleton

WHOLEBODY = load_skeleton("coco_wholebody_133")
PARTS = {"keypoints": 17, "foot_kpts": 6, "face_kpts": 68, "lefthand_kpts": 21, "righthand_kpts": 21}


def content():
    """One person; the x of a keypoint is its place among the 133."""
    person = {"id": 5, "image_id": 9, "category_id": 1, "bbox": [0, 0, 140, 50], "area": 3000.0, "iscrowd": 0}
    person |= {"num_keypoints": 17, "foot_valid": True, "face_valid": True}
    person |= {"lefthand_valid": True, "righthand_valid": True}
    place = 0
    for key, count in PARTS.items():
        person[key] = [number for k in range(count) for number in (place + k, 7, 2)]
        place += count
    return {
        "images": [{"id": 9, "file_name": "9.jpg", "height": 80, "width": 200}],
        "categories": [{"id": 1, "name": "person", "keypoints": list(WHOLEBODY.keypoints[:17])}],
        "annotations": [person],
    }


@pytest.fixture
def write(tmp_path):
    def writer(change=lambda person: None):
        return write_changed(
            tmp_path / "bodies.json", content(), lambda written: change(written["annotations"][0])
        )

    return writer


def test_parts_are_joined_in_the_skeletons_order(write, caplog):
    read = read_wholebody(write(), WHOLEBODY)
    (person,) = read["annotations"]
    assert person["keypoints"][::3] == list(range(133))
    assert person["num_keypoints"] == 133
    assert read["categories"][0]["keypoints"] == list(WHOLEBODY.keypoints)
    assert not caplog.records
    assert split_parts(person["keypoints"]) == {key: content()["annotations"][0][key] for key in PARTS}
    names = {name: place for place, name in enumerate(WHOLEBODY.keypoints)}
    places = names["left_big_toe"], names["face-0"], names["left_hand_root"], names["right_hand_root"]
    assert places == (17, 23, 91, 112)


@pytest.mark.parametrize("part", ["foot", "face", "lefthand", "righthand"])
def test_an_invalid_part_is_not_labeled(write, part):
    path = write(lambda person: person.update({f"{part}_valid": False}))
    (person,) = read_wholebody(path, WHOLEBODY)["annotations"]
    assert set(split_parts(person["keypoints"])[f"{part}_kpts"]) == {0}
    assert person["num_keypoints"] == 133 - PARTS[f"{part}_kpts"]


def test_shares_count_as_labeled(write):
    def change(person):
        person["face_kpts"][2:9:3] = [0.31, 0, 1]

    (person,) = read_wholebody(write(change), WHOLEBODY)["annotations"]
    assert person["keypoints"][3 * 23 + 2 : 3 * 26 : 3] == [2, 0, 2]


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (
            lambda person: person.pop("face_kpts"),
            "annotation 5: face_kpts is missing; it must be 204 numbers",
        ),
        (lambda person: person["foot_kpts"].pop(), "annotation 5: foot_kpts must be 18 numbers"),
        (lambda person: person["keypoints"].pop(), "annotation 5: keypoints must be 51 numbers"),
        (lambda person: person["lefthand_kpts"].__setitem__(2, -1), "'left_hand_root' must be 0"),
        (lambda person: person["lefthand_kpts"].__setitem__(2, "1"), "lefthand_kpts must be 63 numbers"),
        (
            lambda person: person["righthand_kpts"].__setitem__(0, float("nan")),
            "righthand_kpts must be 63 numbers .*finite",
        ),
    ],
)
def test_wrong_parts_are_named(write, change, message):
    with pytest.raises(ValueError, match=rf"bodies\.json: .*{message}"):
        read_wholebody(write(change), WHOLEBODY)


def test_another_skeleton(write):
    with pytest.raises(ValueError, match=r"has 133 keypoints, but skeleton 'coco_17' has 17"):
        read_wholebody(write(), load_skeleton("coco_17"))


def test_coco_itself_is_no_whole_body(write, shared):
    with pytest.raises(
        ValueError,
        match=r"person_keypoints\.json: annotation \d+: foot_kpts is missing; it must be 18 numbers",
    ):
        read_wholebody(shared / "data" / "coco" / "person_keypoints.json", WHOLEBODY)


def test_as_a_dataset(write, tmp_path):
    register("bodies", write(), tmp_path, WHOLEBODY, format="coco_wholebody")
    (record,) = load_dataset("bodies", WHOLEBODY)
    assert record["annotations"][0]["keypoints"][:3] == [0.5, 7.5, 2]
    assert len(record["annotations"][0]["keypoints"]) == 399
