"""The dataset made of the archive of Leeds Sports Pose extended: a made-up archive of drawn images."""

import json
import runpy
import sys

import numpy as np
import pytest
import scipy.io
from PIL import Image

from posecore.data import load_dataset, read_coco, register
from posecore.data.images import read_image
from posecore.data.lspet import MIN_JOINTS, SIZE, prepare_lspet, read_lspet
from posecore.structures.skeleton import load_skeleton

LSP = load_skeleton("lsp_14")
# Width and height of the photographs; the last two show the same.
SIZES = [(160, 120), (500, 400), (300, 90), (271, 273), (120, 160), (120, 160)]


def photograph(size, seed):
    """Large squares of random colors."""
    colors = np.random.default_rng(seed).integers(0, 255, (6, 6, 3)).astype(np.uint8)
    return Image.fromarray(colors).resize(size, Image.Resampling.NEAREST)


def made_up_joints():
    """(14, 3, N): everything visible, in the middle of the photographs, but for what the comments say."""
    joints = np.ones((14, 3, len(SIZES)))
    steps = np.linspace(-1, 1, 14)
    for index, (width, height) in enumerate(SIZES):
        joints[:, 0, index] = 1 + width / 2 + steps * min(60, width / 3)
        joints[:, 1, index] = 1 + height / 2 - steps * min(40, height / 3)
    joints[:, :2, 1] += (150, 100)  # near the lower right corner
    joints[3, :, 0] = (-7, -12, 0)  # as the archive has joints that are not visible
    joints[4, :, 0] = (0, 0, 0)
    joints[5, :2, 0] = (160.5, 60)  # the last half pixel
    joints[6, :2, 0] = (160.6, 60)  # outside
    joints[: 15 - MIN_JOINTS, 2, 2] = 0  # one joint too few
    return joints


@pytest.fixture
def archive(tmp_path):
    """The folder of an unpacked archive."""
    folder = tmp_path / "archive"
    (folder / "images").mkdir(parents=True)
    for index, size in enumerate(SIZES):
        image = photograph(size, min(index, len(SIZES) - 2))
        image.save(folder / "images" / f"im{index + 1:05}.jpg", quality=95)
    scipy.io.savemat(folder / "joints.mat", {"joints": made_up_joints()})
    return folder


def persons(folder):
    """The annotations of both files by their ids, and the names of their files."""
    content = {split: read_coco(folder / f"{split}.json", LSP) for split in ("train", "test")}
    people = {person["id"]: person for part in content.values() for person in part["annotations"]}
    names = {split: [image["file_name"] for image in part["images"]] for split, part in content.items()}
    return people, names


def test_the_dataset(archive, tmp_path):
    counts = prepare_lspet(archive, tmp_path / "out", num_test=2)
    assert (counts.train, counts.test, counts.left_out) == (3, 2, 1)
    assert (counts.groups, counts.duplicates) == (1, 2)
    people, names = persons(tmp_path / "out")
    assert people.keys() == {1, 2, 4, 5, 6}, "person 3 has too few joints"
    assert sorted(names["train"] + names["test"]) == [f"{number:05}.jpg" for number in sorted(people)]
    assert any({"00005.jpg", "00006.jpg"} <= set(own) for own in names.values())
    assert "seed 0" in json.loads((tmp_path / "out" / "test.json").read_text())["info"]["description"]
    for split in names:
        register(
            "made_up", tmp_path / "out" / f"{split}.json", tmp_path / "out" / "images", LSP, format="pck"
        )
        for record in load_dataset("made_up", LSP):
            image = read_image(record["file_name"])
            assert image.shape[:2] == (record["height"], record["width"])


def test_joints_count_from_0_and_are_labeled_where_they_are_in_the_photograph(archive, tmp_path):
    prepare_lspet(archive, tmp_path / "out", num_test=2)
    person = persons(tmp_path / "out")[0][1]
    joints, found = made_up_joints()[..., 0], np.reshape(person["keypoints"], (14, 3))
    labeled = [k not in (3, 4, 6) for k in range(14)]
    assert (found[:, 2] == np.where(labeled, 2, 0)).all()
    assert found[labeled, :2] == pytest.approx(joints[labeled, :2] - 1, abs=0.005)
    assert not found[[3, 4, 6]].any()
    assert person["num_keypoints"] == 11


def test_boxes_are_the_joints_and_a_tenth(archive, tmp_path):
    prepare_lspet(archive, tmp_path / "out", num_test=2)
    people, _ = persons(tmp_path / "out")
    # 120 pixels wide, 80 high, in the middle of the cut photograph of 271 x 272; pixels count from 0.
    assert people[4]["bbox"] == pytest.approx([63.5, 84, 144, 104], abs=0.6)
    assert people[4]["area"] == pytest.approx(0.53 * 144 * 104)
    # The joint on the last half pixel: the box ends with the image.
    x, _, width, _ = people[1]["bbox"]
    assert x + width == pytest.approx(160)


def test_photographs_are_cut_around_the_person(archive, tmp_path):
    prepare_lspet(archive, tmp_path / "out", num_test=2)
    people, _ = persons(tmp_path / "out")
    sizes = {number: Image.open(tmp_path / "out" / "images" / f"{number:05}.jpg").size for number in people}
    assert sizes == {1: (160, 120), 2: (SIZE, SIZE), 4: (271, SIZE), 5: (120, 160), 6: (120, 160)}
    # Small ones are copied as they are.
    assert (tmp_path / "out" / "images" / "00005.jpg").read_bytes() == (
        archive / "images" / "im00005.jpg"
    ).read_bytes()
    # Person 2 is near the lower right corner, so the cut ends there: (500, 400) - 272.
    found = np.reshape(people[2]["keypoints"], (14, 3))[:, :2]
    assert found == pytest.approx(made_up_joints()[:, :2, 1] - 1 - (228, 128), abs=0.005)
    cut = read_image(tmp_path / "out" / "images" / "00002.jpg").astype(int)
    assert abs(cut - read_image(archive / "images" / "im00002.jpg")[128:, 228:]).mean() < 3
    # The photograph 4 is cut around the joints' center in its height alone.
    found = np.reshape(people[4]["keypoints"], (14, 3))[:, :2]
    moved = made_up_joints()[:, :2, 3] - 1 - found
    assert moved == pytest.approx(np.tile([0, 1], (14, 1)), abs=1.005)


def test_joints_outside_the_cut_are_not_labeled(archive, tmp_path):
    joints = made_up_joints()
    joints[:, :2, 1] -= (150, 100)  # in the middle, all but two
    joints[0, :2, 1], joints[1, :2, 1] = (2, 200), (499, 200)
    scipy.io.savemat(archive / "joints.mat", {"joints": joints})
    prepare_lspet(archive, tmp_path / "out", num_test=2)
    person = persons(tmp_path / "out")[0][2]
    found = np.reshape(person["keypoints"], (14, 3))
    assert person["num_keypoints"] == (found[:, 2] == 2).sum() == 12
    assert not found[:2].any()
    assert (found[:, :2] <= SIZE).all()


def test_the_seed_decides_the_split(archive, tmp_path):
    splits = []
    for seed in (*range(6), 0):
        prepare_lspet(archive, tmp_path / "out", num_test=2, seed=seed)
        splits.append(tuple(persons(tmp_path / "out")[1]["test"]))
    assert splits[0] == splits[-1]
    assert len(set(splits)) > 1


def test_the_command(archive, tmp_path, root, monkeypatch, capsys):
    def start():
        with pytest.raises(SystemExit) as end:
            runpy.run_path(str(root / "datasets" / "prepare_lspet.py"), run_name="__main__")
        return end.value.code

    # The folder may also be the one in which the archive's own folder is.
    arguments = [str(archive.parent), "--output", str(tmp_path / "out"), "--test", "2"]
    monkeypatch.setattr(sys, "argv", ["prepare_lspet.py", *arguments])
    assert not start()
    printed = capsys.readouterr().out
    assert f"{tmp_path / 'out'}: 3 images in train.json, 2 in test.json" in printed
    assert "1 left out; 2 images in 1 groups of near duplicates" in printed
    (archive / "joints.mat").unlink()
    assert str(start()).startswith(f"prepare_lspet.py: {archive.parent} has no joints.mat: it must be")


@pytest.mark.parametrize(
    ("joints", "message"),
    [
        (
            np.ones((3, 14, 6)),
            r"joints must be \(14, 3, images\), not \(3, 14, 6\); Leeds Sports Pose without",
        ),
        (np.ones((14, 3, 6, 2)), r"joints must be \(14, 3, images\), not \(14, 3, 6, 2\)"),
        (np.ones((14, 2, 6)), r"joints must be \(14, 3, images\), not \(14, 2, 6\)$"),
        (np.ones((14, 3, 6)) * 2, r"joints of image 1: visible must be 0 or 1"),
        (
            np.ones((14, 3, 6)) * [[1.0], [np.nan], [1.0]],
            "joints of image 1: x and y must be finite where visible is",
        ),
        (np.ones((14, 3, 6)) * 1j, "joints must be real numbers, not complex128"),
        (None, "has no matrix 'joints'"),
    ],
)
def test_other_matrices_are_refused(archive, joints, message):
    content = {"others": np.ones(3)} if joints is None else {"joints": joints}
    scipy.io.savemat(archive / "joints.mat", content)
    with pytest.raises(ValueError, match=rf"joints\.mat:? {message}"):
        read_lspet(archive)


def test_archives_that_are_incomplete(archive, tmp_path):
    (archive / "images" / "im00002.jpg").unlink()
    (archive / "images" / "im00004.jpg").unlink()
    with pytest.raises(FileNotFoundError, match=r"2 of the 6 images .* do not exist, .* is .*im00002\.jpg"):
        prepare_lspet(archive, tmp_path / "out")
    (archive / "joints.mat").write_text("no matrices")
    with pytest.raises(ValueError, match=r"joints\.mat is not a readable MATLAB file"):
        read_lspet(archive)
    with pytest.raises(FileNotFoundError, match=r"joints\.mat is no folder"):
        read_lspet(archive / "joints.mat")
    with pytest.raises(FileNotFoundError, match=r"images has no joints\.mat"):
        read_lspet(archive / "images")


def test_a_broken_image_is_named(archive, tmp_path):
    (archive / "images" / "im00002.jpg").write_bytes(b"no image")
    with pytest.raises(ValueError, match=r"im00002\.jpg"):
        prepare_lspet(archive, tmp_path / "out", num_test=2)


def test_a_test_set_that_leaves_nothing_to_train_on(archive, tmp_path):
    with pytest.raises(ValueError, match=r"has 5 persons .*: there must be more than the 5 of the test set"):
        prepare_lspet(archive, tmp_path / "out", num_test=5)


def test_one_photograph(archive):
    """MATLAB drops last axes of length 1."""
    scipy.io.savemat(archive / "joints.mat", {"joints": made_up_joints()[..., 0]})
    content = read_lspet(archive)
    assert content.joints.shape == (1, 14, 3)
    assert [image.name for image in content.images] == ["im00001.jpg"]
