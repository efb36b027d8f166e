"""What the doctor finds by images and by comparison: shared images, suspected and too small persons."""

from pathlib import Path

import numpy as np
import pytest
from helpers.report_data import HOSTILE, make_faults

from posecore.config import get_cfg
from posecore.data.datasets import register_definitions
from posecore.data.synthetic import make_dataset
from posecore.evaluation.dataset_check import check_dataset
from posecore.evaluation.findings import Report
from posecore.evaluation.split_duplicates import shared_images
from posecore.evaluation.visible_size import VisibleSize, visible_size


@pytest.fixture(scope="module")
def faults(tmp_path_factory: pytest.TempPathFactory) -> tuple[Report, Path]:
    """The findings about a dataset with mistakes of every kind, and its folder."""
    folder = tmp_path_factory.mktemp("faults")
    definition, other = make_faults(folder)
    (name,) = register_definitions([definition])
    others = register_definitions([other])
    return check_dataset(name, others=others, visible=VisibleSize(8, 24, 100)), folder


@pytest.mark.parametrize(
    ("message", "annotation", "keypoints"),
    [
        ("a left and a right keypoint that seem to be swapped", 1, {5, 6}),
        ("left and right that seem to be swapped as a whole", 2, {1, 2, 5, 6}),
        ("a limb that is far too long", 3, {13, 15}),
    ],
)
def test_suspected_persons(faults, message: str, annotation: int, keypoints: set[int]) -> None:
    (finding,) = (finding for finding in faults[0].findings if message in finding.message)
    assert finding.message.startswith("1 of ")
    assert finding.rule
    (example,) = finding.examples
    assert example.annotation == annotation
    assert set(example.keypoints) == keypoints
    assert Path(example.file).parent == faults[1] / "train"


def test_images_in_two_splits(faults) -> None:
    (finding,) = (finding for finding in faults[0].findings if "near duplicate" in finding.message)
    assert finding.message.startswith("2 of 24 images have a near duplicate in synthetic_val")
    pairs = [(Path(example.file).name, Path(example.beside).name) for example in finding.examples]
    assert sorted(pairs) == [("000002.jpg", "000001.jpg"), ("000003.jpg", "000002.jpg")]


def test_small_persons(faults) -> None:
    (finding,) = (
        finding for finding in faults[0].findings if "longer side of less than 16" in finding.message
    )
    assert "INPUT.MIN_SIZE_TEST 24" in finding.rule
    sides = [float(example.text.split()[0]) for example in finding.examples]
    assert sides == sorted(sides)
    assert sides[-1] < 16


def test_a_broken_image_is_an_error_with_its_name(faults) -> None:
    (finding,) = (finding for finding in faults[0].findings if finding.severity == "error")
    assert finding.examples[0].file.endswith("000005.jpg")
    assert finding.message in faults[0].errors


def test_a_split_without_shared_images_is_a_fact(tmp_path: Path) -> None:
    names = register_definitions(
        [make_dataset(tmp_path, num_images=3, size=(40, 50), split=split) for split in ("train", "val")]
    )
    report = check_dataset(names[0], others=names[1:])
    assert report.findings == []
    assert "3 images compared with the 3 of synthetic_val" in report.facts


def test_shared_images_without_any(tmp_path: Path) -> None:
    assert shared_images([], []) == []
    assert shared_images([str(tmp_path / "gone.jpg")], [str(tmp_path / "gone.jpg")]) == []


def test_sides_in_resized_images() -> None:
    visible = VisibleSize(stride=8, min_side=400, max_side=500)
    boxes = np.array([[0, 0, 10, 20], [0, 0, 30, 5]])
    sizes = np.array([[800, 800], [2000, 500]])
    assert visible.sides(boxes, sizes).tolist() == [10, 7.5]
    assert VisibleSize(8, 0, 0).sides(boxes, sizes).tolist() == [20, 30]
    assert visible.sides(boxes[:0], sizes[:0]).tolist() == []


@pytest.mark.parametrize(
    ("config", "stride"),
    [
        ("directpose/R_50_25ep", 8),
        ("poet/R_50", 32),
        ("grouppose/R_50", 8),
        ("poseur/R_50_256x192", None),
    ],
)
def test_the_least_size_of_a_configuration(config: str, stride: int | None, root: Path) -> None:
    cfg = get_cfg()
    cfg.merge_from_file(str(root / "configs" / f"{config}.yaml"))
    visible = visible_size(cfg)
    assert (visible.stride if visible is not None else None) == stride
    if visible is not None:
        assert (visible.least, visible.min_side) == (2 * stride, cfg.INPUT.MIN_SIZE_TEST)


def test_the_first_image_has_its_name(faults) -> None:
    files = [example.file for finding in faults[0].findings for example in finding.examples]
    assert any(HOSTILE.replace("/", "\u2215") in file for file in files)
