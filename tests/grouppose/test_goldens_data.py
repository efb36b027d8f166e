"""What the official code makes of annotations before the network sees them."""

from pathlib import Path

import numpy as np
import pytest
import torch
from detectron2.data import transforms as T
from helpers.grouppose_oracle import people, tiny
from helpers.oracles import arrays
from helpers.set_prediction import moved
from torch import Tensor
from torch.testing import assert_close

from posecore.data.augment import ResizeRoundingDown
from posecore.structures.skeleton import load_skeleton

SIZE = (480, 640)
# Pixels between COCO's coordinates, which the official code has, and ours.
HALF = torch.tensor([0.5, 0.5, 0.0])


@pytest.fixture(scope="module")
def golden(shared: Path) -> dict[str, Tensor]:
    return arrays(shared / "oracles/grouppose/case_data/outputs.npz")


def check_labeled(found: Tensor, expected: Tensor) -> None:
    """Positions of labeled keypoints, and flags."""
    assert torch.equal(found[..., 2], expected[..., 2])
    labeled = expected[..., 2] > 0
    assert_close(found[labeled], expected[labeled], atol=1e-3, rtol=1e-6)


def test_flip(golden: dict) -> None:
    """x becomes width - 1 - x there, width - x here, which is the same place."""
    inside = (golden["converted/keypoints"][..., :2] < torch.tensor([640, 480])).all(dim=-1)
    keypoints = golden["converted/keypoints"] * inside[..., None]
    flipped = moved(keypoints + HALF, T.HFlipTransform(SIZE[1]), SIZE)
    swap = list(load_skeleton("coco_17").flip_indices)
    expected = golden["flipped/keypoints"] * inside[:, swap][..., None]
    check_labeled(flipped, expected + HALF)


def test_resize(golden: dict) -> None:
    transform = ResizeRoundingDown((800,), 1333, "choice").get_transform(np.zeros((*SIZE, 3), np.uint8))
    size = (transform.new_h, transform.new_w)
    assert size == (800, 1066)
    inside = (golden["converted/keypoints"][..., :2] < torch.tensor([640, 480])).all(dim=-1)
    resized = moved(golden["converted/keypoints"], transform, size)
    check_labeled(resized, golden["test_resized/keypoints"] * inside[..., None])


def test_sizes_after_the_resize(golden: dict) -> None:
    for width, height, short, longest, *expected in golden["resize_table"].tolist():
        resize = ResizeRoundingDown((int(short),), int(longest) or 10**9, "choice")
        transform = resize.get_transform(np.zeros((int(height), int(width), 3), dtype=np.uint8))
        assert [transform.new_w, transform.new_h] == expected, (width, height, short, longest)


def test_targets(golden: dict) -> None:
    """Positions in widths and heights, hidden keypoints labeled, areas as annotated."""
    boxes, areas = golden["test_resized/boxes"], golden["test_resized/area"]
    target = people(golden["test_resized/keypoints"], boxes, areas, (800, 1066))
    persons = tiny(config="official/R_50.yaml").persons([target])
    expected = golden["test_normalised/keypoints"]
    labeled = expected[:, 34:] > 0
    assert torch.equal(persons.poses.visibility > 0, labeled)
    points = expected[:, :34].unflatten(1, (17, 2))
    assert_close(persons.poses.keypoints[labeled], points[labeled], atol=2e-6, rtol=0)
    assert_close(persons.areas / persons.sizes.prod(dim=1), golden["test_normalised/area"])
    assert torch.equal(persons.labels, golden["test_normalised/labels"])
