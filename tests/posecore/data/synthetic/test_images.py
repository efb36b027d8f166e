"""The synthetic images: ground truth that is true, and the same for the same seed."""

import json
from dataclasses import replace

import cv2
import numpy as np
import pytest
from helpers.skeletons import STICK

from posecore.data.datasets import load_dataset, register_definitions
from posecore.data.formats.coco import read_coco
from posecore.data.synthetic import Scene, make_dataset, make_image
from posecore.data.synthetic import images as synthetic
from posecore.data.synthetic.__main__ import main
from posecore.data.synthetic.figures import Capsule, Figure, figure_maker
from posecore.structures.skeleton import Skeleton, load_skeleton


def images(folder, split):
    return [cv2.imread(str(path)) for path in sorted((folder / split).iterdir())]


def test_a_dataset_is_complete_and_loads(tmp_path):
    definition = make_dataset(tmp_path, num_images=6, size=(64, 96), crowds=1.0)
    (name,) = register_definitions([definition])
    assert name == "synthetic_train"
    dicts = load_dataset(name, load_skeleton("coco_17"))
    assert len(dicts) == 6
    for record in dicts:
        assert cv2.imread(record["file_name"]).shape == (64, 96, 3)
        crowds = [person for person in record["annotations"] if person["iscrowd"]]
        assert len(crowds) == 1
        assert crowds[0]["num_keypoints"] == 0
        assert 1 <= len(record["annotations"]) - 1 <= 3
        for person in record["annotations"]:
            x, y, width, height = person["bbox"]
            assert 0 <= x < x + width <= 96
            assert 0 <= y < y + height <= 64
            assert 0 < person["area"] <= width * height


def test_the_reader_finds_nothing_to_fill_in(tmp_path, caplog):
    make_dataset(tmp_path, num_images=3)
    read_coco(tmp_path / "annotations" / "train.json", load_skeleton("coco_17"))
    assert not caplog.records


def test_a_image_depends_on_seed_split_and_index_alone(tmp_path):
    make_dataset(tmp_path / "a", num_images=3)
    make_dataset(tmp_path / "b", num_images=2)
    make_dataset(tmp_path / "c", num_images=2, seed=1)
    make_dataset(tmp_path / "a", num_images=2, split="val")
    first = images(tmp_path / "a", "train")
    assert all(map(np.array_equal, first, images(tmp_path / "b", "train")))
    assert not any(map(np.array_equal, first, images(tmp_path / "c", "train")))
    assert not any(map(np.array_equal, first, images(tmp_path / "a", "val")))
    annotations = [
        json.loads((tmp_path / folder / "annotations" / "train.json").read_text())["annotations"]
        for folder in "ab"
    ]
    assert annotations[0][: len(annotations[1])] == annotations[1]


@pytest.mark.parametrize("name", ["coco_17", "crowdpose_14", "lsp_14", "mpii_16", "coco_wholebody_133"])
def test_every_shipped_skeleton(tmp_path, name):
    definition = make_dataset(tmp_path, num_images=2, skeleton=name, size=(80, 80))
    dicts = load_dataset(*register_definitions([definition]), load_skeleton(name))
    assert sum(person["num_keypoints"] for record in dicts for person in record["annotations"]) > 20


@pytest.mark.parametrize(
    "skeleton",
    [STICK, replace(STICK, limbs=()), Skeleton("point", ("tip",), (), (), (0.1,))],
    ids=["stick", "no limbs", "one point"],
)
def test_skeletons_nobody_knows(skeleton):
    rng = np.random.default_rng(0)
    for _ in range(5):
        image, people = make_image(rng, figure_maker(skeleton), (48, 64), Scene(cut=0, objects=0))
        assert image.shape == (48, 64, 3)
        for person in people:
            assert person["num_keypoints"] == skeleton.num_keypoints


def test_abstract_figures_have_two_sides():
    """Over many figures the left keypoints lie right of the axis, as far as their partners lie left of it."""
    maker, rng = figure_maker(STICK), np.random.default_rng(0)
    points = np.mean([maker(rng).keypoints for _ in range(300)], axis=0)
    left, right = points[1] - points[0], points[2] - points[0]
    assert left[0] > 0.1
    assert right == pytest.approx([-left[0], left[1]], abs=0.05)


def one_dot(rng):
    """A red disc of radius 1 with its keypoint off its middle."""
    center = np.zeros(2)
    return Figure(np.array([[0.3, -0.2]]), [Capsule(center, center, (1, 1), (255, 0, 0))])


def test_ground_truth_is_where_the_figure_is_drawn(monkeypatch):
    monkeypatch.setattr(synthetic, "draw_background", lambda rng, size: np.full((*size, 3), 100.0))
    scene = Scene(people=(1, 1), scale=(0.4, 0.4), cut=0, objects=0)
    for seed in range(5):
        image, (person,) = make_image(np.random.default_rng(seed), one_dot, (50, 70), scene)
        red = image[..., 0].astype(float) - image[..., 1:].max(axis=-1)
        rows, columns = np.nonzero(red > 100)
        center = np.array([columns.mean(), rows.mean()])  # in pixel indices, as COCO counts
        keypoint = np.array(person["keypoints"][:2])
        assert keypoint == pytest.approx(center + np.array([0.3, -0.2]) * 10, abs=0.4)
        assert person["bbox"] == pytest.approx([*(center - 9.5), 20, 20], abs=1)
        assert person["area"] == pytest.approx(np.pi * 100, rel=0.05)


def test_visibility():
    scene = Scene(people=(1, 1), scale=(0.5, 0.5), cut=0, objects=0)
    _, (alone,) = make_image(np.random.default_rng(0), one_dot, (50, 50), scene)
    assert alone["keypoints"][2] == 2
    states = []
    crowded = Scene(people=(3, 3), scale=(0.9, 1.0), cut=1.0, objects=1.0)
    for seed in range(20):
        _, people = make_image(np.random.default_rng(seed), figure_maker(STICK), (50, 50), crowded)
        for person in people:
            keypoints = np.array(person["keypoints"]).reshape(-1, 3)
            states += keypoints[:, 2].tolist()
            assert (keypoints[keypoints[:, 2] == 0] == 0).all()
            labeled = keypoints[keypoints[:, 2] > 0, :2]
            assert ((labeled >= -0.5) & (labeled < 49.5)).all()
    assert set(states) == {0, 1, 2}


def test_figures_have_the_height_asked_for():
    scene = Scene(people=(1, 1), scale=(0.5, 0.6), cut=0, objects=0)
    maker = figure_maker(load_skeleton("coco_17"))
    for seed in range(10):
        _, (person,) = make_image(np.random.default_rng(seed), maker, (100, 200), scene)
        assert 48 <= person["bbox"][3] <= 62


def test_nobody(tmp_path):
    _, people = make_image(np.random.default_rng(0), one_dot, (30, 30), Scene(people=(0, 0)))
    assert people == []


def test_command_line(tmp_path, capsys):
    main(["--out", str(tmp_path), "--train", "2", "--val", "1", "--size", "40", "60", "--people", "2", "2"])
    assert len(images(tmp_path, "train")) == 2
    assert images(tmp_path, "val")[0].shape == (40, 60, 3)
    assert str(tmp_path / "val.yaml") in capsys.readouterr().out


def test_command_line_with_a_wrong_size(tmp_path, capsys):
    with pytest.raises(SystemExit):
        main(["--out", str(tmp_path), "--size", "40", "60", "3"])
    assert "--size takes one number or two" in capsys.readouterr().err
