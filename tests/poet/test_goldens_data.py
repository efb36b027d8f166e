"""What the official code makes of annotations and images before the network sees them."""

from pathlib import Path

import numpy as np
import pytest
import torch
from detectron2.data import transforms as T
from detectron2.structures import ImageList
from helpers.oracles import arrays, load_fill
from helpers.poet_oracle import people
from helpers.set_prediction import moved
from torch import Tensor
from torch.testing import assert_close

from poet.official import official_classes
from posecore.data.augment import ResizeRoundingDown
from posecore.layers.padding import cell_padding
from posecore.modeling.set_prediction.persons import Persons, gather_persons

SIZE = (512, 640)
# Pixels, the tolerance that the case states.
ATOL = 2e-4


@pytest.fixture(scope="module")
def golden(shared: Path) -> dict[str, Tensor]:
    return arrays(shared / "oracles/poet/case_data/outputs.npz")


def persons(annotations: Tensor, size: tuple[int, int]) -> Persons:
    return gather_persons([people(annotations, size)], 17, min_visibility=2, labels=official_classes)


def check_poses(annotations: Tensor, expected: Tensor, size: tuple[int, int], atol: float = ATOL) -> None:
    """Centers, visible offsets and visibilities against (P, 54) rows in pixels."""
    found = persons(annotations, size)
    scale = torch.tensor([size[1], size[0]])
    assert torch.equal(found.any_visible, expected[:, 2] > 0)
    posed = found.any_visible
    assert_close((found.poses.centers * scale)[posed], expected[posed, :2], atol=atol, rtol=0)
    keypoints = expected[:, 3:].unflatten(1, (17, 3))
    visible = keypoints[..., 2] > 0
    assert torch.equal(found.poses.visibility > 0, visible)
    offsets = (found.poses.offsets * scale)[visible]
    assert_close(offsets, keypoints[..., :2][visible], atol=atol, rtol=0)


def test_annotations(golden: dict) -> None:
    check_poses(golden["annotations"], golden["convert/keypoints"], SIZE)
    assert torch.equal(persons(golden["annotations"], SIZE).labels, golden["convert/labels"])


def test_flip(golden: dict) -> None:
    """Pixels count from their corners there as here, so x becomes width - x in both."""
    flipped = moved(golden["annotations"], T.HFlipTransform(SIZE[1]), SIZE)
    check_poses(flipped, golden["hflip/keypoints"], SIZE)


@pytest.mark.parametrize("which", [0, 1])
def test_rotation(golden: dict, which: int) -> None:
    """A positive angle turns clockwise there."""
    angle = -golden[f"rotate{which}/angle"].item()
    rotated = moved(golden["annotations"], T.RotationTransform(*SIZE, angle, expand=False), SIZE)
    check_poses(rotated, golden[f"rotate{which}/keypoints"], SIZE)


@pytest.mark.parametrize("which", [0, 1, 2])
def test_crop(golden: dict, which: int) -> None:
    """Persons without a visible keypoint in the window are no longer there."""
    top, left, height, width = golden[f"crop{which}/region_top_left_h_w"].tolist()
    cut = moved(golden["annotations"], T.CropTransform(left, top, width, height), (height, width))
    cut = cut[(cut[..., 2] == 2).any(dim=1)]
    check_poses(cut, golden[f"crop{which}/keypoints"], (height, width))


def test_resize(golden: dict, shared: Path) -> None:
    image = np.floor(256 * load_fill(shared).uniform("poet/case_data/image", (*SIZE, 3))).astype(np.uint8)
    resize = ResizeRoundingDown((480,), 1333, "choice")
    transform = resize.get_transform(image)
    size = tuple(golden["resize480_normalize/image_size_h_w"].tolist())
    pixels = torch.from_numpy(transform.apply_image(image).copy()).permute(2, 0, 1)
    assert pixels.shape == (3, *size)
    mean, std = (torch.tensor(x).view(3, 1, 1) for x in ((0.485, 0.456, 0.406), (0.229, 0.224, 0.225)))
    normalized = (pixels / 255 - mean) / std
    assert_close(normalized[:, ::24, ::24], golden["resize480_normalize/image_slice"], atol=2e-2, rtol=0)
    found = persons(moved(golden["annotations"], transform, size), size)
    expected = golden["resize480_normalize/keypoints"]
    assert_close(found.poses.centers[found.any_visible], expected[found.any_visible, :2], atol=2e-6, rtol=0)
    keypoints = expected[:, 3:].unflatten(1, (17, 3))
    visible = keypoints[..., 2] > 0
    assert_close(found.poses.offsets[visible], 2 * keypoints[..., :2][visible] - 1, atol=4e-6, rtol=0)


def test_sizes_after_the_resize(golden: dict) -> None:
    table = golden["resize_sizes/w_h_short_max_outh_outw"]
    for width, height, short, longest, *expected in table.tolist():
        resize = ResizeRoundingDown((short,), longest if longest > 0 else 10**9, "choice")
        transform = resize.get_transform(np.zeros((height, width, 3), dtype=np.uint8))
        assert [transform.new_h, transform.new_w] == expected, (width, height, short, longest)


def test_sizes_of_masks(golden: dict) -> None:
    table = golden["mask_sizes/H_W_h_w_stride_fh_fw_validrows_validcols"]
    for full_h, full_w, height, width, _, cells_h, cells_w, rows, columns in table.tolist():
        images = ImageList(torch.zeros(1, 3, full_h, full_w), [(height, width)])
        valid = ~cell_padding(images, (cells_h, cells_w))[0]
        expected = torch.zeros(cells_h, cells_w, dtype=torch.bool)
        expected[:rows, :columns] = True
        assert torch.equal(valid, expected), (full_h, full_w, height, width)
