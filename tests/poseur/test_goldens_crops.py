"""The official code's crops, number by number (shared/oracles/poseur/codec and coco)."""

from dataclasses import replace
from functools import partial
from pathlib import Path

import cv2
import numpy as np
import pytest
from helpers.oracles import load_fill
from numpy.testing import assert_allclose

from posecore.data.formats.coco import dataset_dicts, read_coco
from posecore.structures.crops import CropGeometry, Region, transform
from posecore.structures.skeleton import load_skeleton
from poseur.augment import HalfBody
from poseur.boxes import GroundTruthBoxes, clipped_box

SIZES = [(256, 192), (256, 256), (384, 288)]
ANGLES = [0.0, 0.0, 30.0, -47.5, 12.0]


@pytest.fixture(scope="module")
def codec(shared: Path) -> dict[str, np.ndarray]:
    return dict(np.load(shared / "oracles" / "poseur" / "codec" / "outputs.npz"))


def xyxy(boxes: np.ndarray) -> np.ndarray:
    return np.concatenate([boxes[:, :2], boxes[:, :2] + boxes[:, 2:]], axis=1).astype(float)


@pytest.mark.parametrize("size", SIZES)
def test_regions_and_maps(codec: dict, size: tuple[int, int]) -> None:
    geometry = CropGeometry(size, first_pixel=0.0)
    name = f"{size[0]}x{size[1]}"
    for index, (box, angle) in enumerate(zip(xyxy(codec["boxes"]), ANGLES, strict=True)):
        region = geometry.region(box)
        expected = codec[f"{name}.centre_scale"][index]
        assert_allclose(np.append(region.center, region.size / 200), expected, rtol=1e-5, atol=1e-5)
        turned = replace(region, angle=angle)
        there = geometry.image_to_crop(turned)
        # The official code solves for the map in single precision.
        assert_allclose(there, codec[f"{name}.matrix"][index], rtol=2e-5, atol=2e-3)
        points = transform(codec["keypoints"][index].astype(float), there)
        assert_allclose(points, codec[f"{name}.crop"][index], rtol=2e-5, atol=2e-3)
        # Our image's coordinates are 0.5 more than its pixels' indices, the official code's.
        back = geometry.crop_to_image(turned)
        assert_allclose(back - [[0, 0, 0.5]], codec[f"{name}.inverse"][index], rtol=2e-5, atol=1e-3)


@pytest.mark.parametrize("size", SIZES)
def test_what_counts_as_inside(codec: dict, size: tuple[int, int]) -> None:
    name = f"{size[0]}x{size[1]}"
    inside = CropGeometry(size, first_pixel=0.0).inside(codec[f"{name}.crop"])
    inside[:, ::4] = False  # the joints that the case calls invisible
    assert_allclose(inside, codec[f"{name}.weight"][..., 0])


@pytest.mark.parametrize("size", SIZES)
def test_normalized_predictions_come_back_into_the_image(codec: dict, size: tuple[int, int]) -> None:
    name = f"{size[0]}x{size[1]}"
    geometry = CropGeometry(size, first_pixel=0.0)
    for box, target, back in zip(
        xyxy(codec["boxes"]), codec[f"{name}.target"], codec[f"{name}.back"], strict=True
    ):
        points = transform(target * np.array(size[::-1]), geometry.crop_to_image(geometry.region(box)))
        assert_allclose(points - 0.5, back, rtol=2e-5, atol=2e-3)


def test_pixels(codec: dict, shared: Path) -> None:
    image = (load_fill(shared).uniform("poseur/codec/image", (90, 120, 3)) * 255).astype(np.uint8)
    geometry = CropGeometry((256, 192), first_pixel=0.0)
    crop = geometry.cut(image, geometry.region(np.array([20.0, 10, 70, 70])))
    assert np.abs(crop[100:140:4, 60:120:4].astype(int) - codec["crop.block"]).max() <= 2


def test_mpii(codec: dict) -> None:
    """Center and side of MPII's annotations are a square box that is not cut at the image's border."""
    geometry = CropGeometry((256, 256), first_pixel=0.0)
    for raw, center, scale, matrix in zip(
        codec["mpii.raw"], codec["mpii.centre"], codec["mpii.scale"], codec["mpii.matrix"], strict=True
    ):
        half = 100 * raw[2] * np.ones(2)
        region = geometry.region(np.concatenate([center - half, center + half]))
        assert_allclose(region.size / 200, scale, rtol=1e-5)
        assert_allclose(geometry.image_to_crop(region), matrix, rtol=2e-5, atol=1e-4)


def test_flipped_crops(codec: dict) -> None:
    """The official code flips an image, 320 wide, and the center of the box in it, and then cuts."""
    skeleton = load_skeleton("coco_17")
    geometry = CropGeometry((256, 192), first_pixel=0.0)
    region = geometry.region(np.array([40.0, 30, 200, 290]))
    there = replace(region, center=np.array([319 - region.center[0], region.center[1]]))
    expected = transform(codec["aug.flip_joints"][:, :2].astype(float), geometry.image_to_crop(there))
    flipped = geometry.image_to_crop(replace(region, flipped=True))
    found = transform(codec["aug.joints"][:, :2].astype(float), flipped)[list(skeleton.flip_indices)]
    visible = codec["aug.flip_visible"][:, 0] > 0
    assert_allclose(found[visible], expected[visible], atol=1e-4)


def test_half_bodies(codec: dict) -> None:
    skeleton = load_skeleton("coco_17")
    upper, lower = (
        [skeleton.keypoints.index(name) for name in skeleton.body_halves[half]] for half in ("upper", "lower")
    )
    keypoints = codec["aug.joints"].astype(float)
    keypoints[:, 2] = 1
    keypoints[[3, 14], 2] = 0
    whole = Region(np.zeros(2), np.ones(2))
    for half, probability in (("upper", 1.0), ("lower", 0.0)):
        change = HalfBody(
            upper=upper,
            lower=lower,
            aspect=192 / 256,
            padding=1.5,
            min_keypoints=8,
            probability=1.0,
            upper_probability=probability,
        )
        region = change(whole, keypoints)
        found = np.append(region.center, region.size / 200)
        assert_allclose(found, codec[f"aug.half_body_{half}"], rtol=2e-5, atol=1e-4)


def test_boxes_of_the_ground_truth(shared: Path) -> None:
    case = np.load(shared / "oracles" / "poseur" / "coco" / "outputs.npz")
    coco = read_coco(shared / "data" / "coco" / "person_keypoints.json", load_skeleton("coco_17"))
    geometry = CropGeometry((256, 192), first_pixel=0.0)
    source = GroundTruthBoxes(partial(clipped_box, geometry=geometry))
    people = [
        (image["image_id"], box) for image in dataset_dicts(coco, "") for _, box in source.people(image)
    ]
    assert [image_id for image_id, _ in people] == case["image_id"].tolist()
    boxes = np.array([box for _, box in people])
    assert_allclose(boxes, xyxy(case["bbox"]), rtol=2e-5, atol=1e-4)
    for box, expected in zip(boxes, case["boxes"], strict=True):
        region = geometry.region(box)
        assert_allclose(np.append(region.center, region.size / 200), expected[:4], rtol=2e-5, atol=1e-4)
        assert_allclose(region.size.prod(), expected[4], rtol=2e-5)
        inverse = geometry.crop_to_image(region)
        assert_allclose(np.linalg.det(inverse[:, :2]) * 256 * 192, expected[4], rtol=2e-5)


def test_opencv_turns_maps_around_exactly() -> None:
    """The inverse is OpenCV's; whatever it is computed with must not be single precision."""
    affine = np.array([[0.3, 0.1, 40.0], [-0.1, 0.3, 900.0]])
    both = transform(transform(np.array([[1234.5, 6.75]]), affine), cv2.invertAffineTransform(affine))
    assert_allclose(both, [[1234.5, 6.75]], rtol=1e-12)
