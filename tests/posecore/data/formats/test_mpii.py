"""The reader of MPII's annotations."""

import numpy as np
import pytest
from helpers.files import write_changed
from PIL import Image

from posecore.data import load_dataset, register
from posecore.data.formats.mpii import read_mpii
from posecore.evaluation.dataset_check import check_dataset
from posecore.structures.skeleton import load_skeleton

MPII = load_skeleton("mpii_16")


def people():
    """Two persons in one image and one in another; joint k of person n at (10 n + k, 20 + k), from 1."""
    return [
        {
            "image": image,
            "center": [30.0, 40.0],
            "scale": 0.25,
            "joints": [[10 * n + k, 20 + k] for k in range(16)],
            "joints_vis": [int(k != n) for k in range(16)],
        }
        for n, image in enumerate(["b.jpg", "a.jpg", "b.jpg"])
    ]


@pytest.fixture
def write(tmp_path):
    """Images of 100 x 80 and 60 x 90, and the persons after a change; returns the path."""

    def writer(change=lambda people: None):
        Image.new("RGB", (100, 80)).save(tmp_path / "b.jpg")
        Image.new("RGB", (60, 90)).save(tmp_path / "a.jpg")
        return write_changed(tmp_path / "mpii.json", people(), change)

    return writer


def test_persons(write, tmp_path, caplog):
    read = read_mpii(write(), tmp_path, MPII)
    assert read["images"] == [
        {"id": 1, "file_name": "b.jpg", "height": 80, "width": 100},
        {"id": 2, "file_name": "a.jpg", "height": 90, "width": 60},
    ]
    assert [(person["id"], person["image_id"]) for person in read["annotations"]] == [(1, 1), (2, 2), (3, 1)]
    person = read["annotations"][1]
    assert person["keypoints"][:9] == [9, 19, 2, 0, 0, 0, 11, 21, 2], "from 0, and 0 where not labeled"
    assert person["num_keypoints"] == 15
    # 200 * 0.25 wide around (30, 40 + 15 * 0.25), less the pixel that MPII counts from.
    assert person["bbox"] == [4, 17.75, 50, 50]
    assert not caplog.records


def test_as_a_dataset(write, tmp_path):
    register("mpii", write(), tmp_path, MPII, format="mpii")
    first, second = load_dataset("mpii", MPII)
    assert (first["file_name"], len(first["annotations"])) == (str(tmp_path / "b.jpg"), 2)
    assert second["annotations"][0]["keypoints"][:3] == [9.5, 19.5, 2]
    report = check_dataset("mpii")
    assert report.errors == []
    assert "AP of the ground truth as its own prediction: 100.0 %" in report.facts


def test_a_test_set_has_no_joints(write, tmp_path):
    def drop(people):
        for person in people:
            del person["joints"], person["joints_vis"]

    (*_, person) = read_mpii(write(drop), tmp_path, MPII)["annotations"]
    assert set(person["keypoints"]) == {0}
    assert person["bbox"][2:] == [50, 50]


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"scale": 0}, "person at index 1: scale must be a number above 0 and up to 5000, not 0"),
        ({"scale": None}, "person at index 1: scale must be a number above 0 .*, not None"),
        ({"center": [3]}, r"person at index 1: center must be 2 numbers, .*, not \[3\]"),
        ({"center": [3, float("nan")]}, "person at index 1: center must be 2 numbers, x and y, finite"),
        ({"joints": [[1, 2]] * 15}, "person at index 1: joints must be 16 times 2 numbers"),
        ({"joints_vis": "all"}, "person at index 1: joints_vis must be a list .*, not 'all'"),
        ({"image": 7}, "person at index 1: image must be a file name, as text, not 7"),
    ],
)
def test_wrong_persons_are_named(write, tmp_path, changes, message):
    path = write(lambda people: people[1].update(changes))
    with pytest.raises(ValueError, match=rf"mpii\.json: ({message})"):
        read_mpii(path, tmp_path, MPII)


def test_files_that_are_something_else(write, tmp_path, shared):
    with pytest.raises(ValueError, match=r"person_keypoints\.json is not in MPII's JSON format"):
        read_mpii(shared / "data" / "coco" / "person_keypoints.json", tmp_path, MPII)
    path = write(lambda people: people[0].update(image="gone.jpg"))
    with pytest.raises(FileNotFoundError, match=r"image .*gone\.jpg does not exist"):
        read_mpii(path, tmp_path, MPII)
    (tmp_path / "gone.jpg").write_bytes(b"no image")
    with pytest.raises(ValueError, match=r"image .*gone\.jpg cannot be read"):
        read_mpii(path, tmp_path, MPII)


def test_another_skeleton(write, tmp_path):
    with pytest.raises(ValueError, match="joints must be 17 times 2 numbers"):
        read_mpii(write(), tmp_path, load_skeleton("coco_17"))


def test_regions_are_those_of_the_official_code(shared):
    """Boxes times 1.25 against numbers that MMPose computed from the same file."""
    folder = shared / "data" / "mpii"
    read = read_mpii(folder / "annotations.json", folder, MPII)
    golden = np.load(shared / "oracles" / "poseur" / "codec" / "outputs.npz")
    boxes = np.array([person["bbox"] for person in read["annotations"]])
    np.testing.assert_allclose(boxes[:, :2] + boxes[:, 2:] / 2, golden["mpii.centre"], atol=1e-3)
    np.testing.assert_allclose(boxes[:, 2:] * 1.25, golden["mpii.scale"] * 200, rtol=1e-5)


def test_real_images(shared):
    folder = shared / "data" / "mpii"
    register("mpii_five", folder / "annotations.json", folder, MPII, format="mpii")
    report = check_dataset("mpii_five")
    assert report.errors == []
    assert "5 images opened" in report.facts


def test_sizes_are_those_of_upright_images(shared):
    folder = shared / "data" / "faults" / "mpii_exif"
    if not folder.is_dir():
        pytest.skip(f"no faulty inputs in {folder}")
    (image,) = read_mpii(folder / "ann.json", folder / "images", MPII)["images"]
    assert (image["width"], image["height"]) == (96, 64)
    register("mpii_exif", folder / "ann.json", folder / "images", MPII, format="mpii")
    assert check_dataset("mpii_exif").errors == []
