"""Random changes of regions and of pixels."""

import numpy as np
import pytest
from numpy.testing import assert_allclose

from posecore.config import get_cfg
from posecore.structures.crops import Region
from posecore.structures.skeleton import Skeleton, load_skeleton
from poseur.augment import (
    Cutout,
    HalfBody,
    PhotometricDistortion,
    RandomFlip,
    Rotate,
    Scale,
    Shift,
    build_pixel_changes,
    build_region_changes,
)

REGION = Region(np.array([50.0, 60.0]), np.array([30.0, 40.0]))
NOTHING = np.zeros((5, 3))
DRAWS = 400


def draw(change, keypoints=NOTHING, region=REGION):
    return [change(region, keypoints) for _ in range(DRAWS)]


def test_shift():
    moved = np.array([region.center - REGION.center for region in draw(Shift(0.16, 0.3))])
    share = (moved != 0).any(axis=1).mean()
    assert 0.2 < share < 0.4
    assert (np.abs(moved) <= 0.16 * REGION.size).all()
    assert (moved.max(axis=0) > 0.14 * REGION.size).all()
    assert (moved.min(axis=0) < -0.14 * REGION.size).all()


def test_flip():
    assert 0.4 < np.mean([region.flipped for region in draw(RandomFlip())]) < 0.6


def test_scale():
    factors = np.array([region.size / REGION.size for region in draw(Scale(0.5))])
    assert_allclose(factors[:, 0], factors[:, 1])
    assert (factors.min(), factors.max()) == (0.5, 1.5)
    # A third of a normal distribution lies beyond one standard deviation.
    assert 0.25 < np.isin(factors[:, 0], (0.5, 1.5)).mean() < 0.4
    assert 0.9 < factors.mean() < 1.1


def test_rotation():
    angles = np.array([region.angle for region in draw(Rotate(40.0, 0.6))])
    assert 0.5 < (angles != 0).mean() < 0.7
    assert np.abs(angles).max() == 80
    assert 30 < angles[angles != 0].std() < 45


def half_body(**changes):
    settings = {
        "aspect": 0.75,
        "padding": 1.5,
        "min_keypoints": 4,
        "probability": 1,
        "upper_probability": 0.5,
    }
    return HalfBody(upper=[0, 1, 2], lower=[3, 4, 5], **settings | changes)


def person(labeled):
    """Six keypoints, the lower three further down."""
    points = np.array([[10.0, 10], [20, 12], [15, 30], [12, 60], [18, 62], [30, 90]])
    return np.column_stack([points, labeled])


@pytest.mark.parametrize(("probability", "expected"), [(1.0, [15, 52 / 3]), (0.0, [20, 212 / 3])])
def test_half_bodies(probability, expected):
    region = half_body(upper_probability=probability)(REGION, person([2, 2, 1, 1, 1, 2]))
    assert_allclose(region.center, expected)
    assert_allclose(region.size[0] / region.size[1], 0.75)


def test_the_other_half_where_one_has_too_few():
    for probability in (0.0, 1.0):
        change = half_body(upper_probability=probability, min_keypoints=1)
        assert change(REGION, person([2, 0, 1, 1, 1, 1])).center[1] > 60
        assert change(REGION, person([2, 2, 1, 0, 1, 1])).center[1] < 20
        # Two keypoints of the upper half are better than two of the lower one.
        assert change(REGION, person([2, 2, 0, 0, 1, 1])).center[1] < 20


def test_whole_bodies_stay():
    assert half_body()(REGION, person([2, 2, 2, 2, 0, 0])) is REGION
    assert half_body(probability=0)(REGION, person([2] * 6)) is REGION
    assert half_body(min_keypoints=0)(REGION, person([2, 0, 0, 1, 1, 0])) is REGION
    together = person([1] * 6)
    together[:, :2] = 7
    assert half_body()(REGION, together) is REGION
    shares = [region is REGION for region in draw(half_body(probability=0.3), person([2] * 6))]
    assert 0.6 < np.mean(shares) < 0.8


def test_colors():
    crop = np.random.default_rng(0).integers(0, 256, (30, 20, 3), dtype=np.uint8)
    before = crop.copy()
    changed = [PhotometricDistortion()(crop) for _ in range(60)]
    assert np.array_equal(crop, before)
    assert all(image.dtype == np.uint8 and image.shape == crop.shape for image in changed)
    means = np.array([image.mean() for image in changed])
    assert means.min() < crop.mean() - 20
    assert means.max() > crop.mean() + 20
    # One of sixteen has nothing drawn; the way through hue and back may round.
    assert any(np.abs(image.astype(int) - crop).max() <= 1 for image in changed)
    gray = PhotometricDistortion()(np.full((4, 4, 3), 120, np.uint8))
    assert np.ptp(gray) <= 1  # neither hue nor saturation makes gray colored


def test_colors_stay_in_their_place():
    crop = np.zeros((30, 20, 3), np.uint8)
    crop[12, 7] = (120, 60, 90)
    for _ in range(30):
        brightness = PhotometricDistortion()(crop).sum(axis=2)
        assert brightness[12, 7] == brightness.max()


def test_cutout():
    crop = np.full((80, 60, 3), 9, np.uint8)
    images = [Cutout()(crop) for _ in range(DRAWS)]
    assert (crop == 9).all()
    masks = np.array([(image == 0).all(axis=2) for image in images])
    assert all(np.isin(image, (0, 9)).all() for image in images)
    assert masks.any(axis=(1, 2)).all()
    assert masks.any(axis=0).all()  # anywhere
    widths = masks.any(axis=1).sum(axis=1)
    assert widths.max() <= 2 * 0.4 * 60 + 1
    assert masks.sum(axis=(1, 2)).max() > 0.5 * np.pi * 24**2


def test_what_the_configuration_asks_for():
    cfg = get_cfg()
    skeleton = load_skeleton("coco_17")
    flip, half, *others = build_region_changes(cfg, skeleton)
    assert isinstance(flip, RandomFlip)
    assert others == [Scale(0.5), Rotate(40.0, 0.6)]
    assert isinstance(half, HalfBody)
    assert (half.upper, half.lower) == (list(range(11)), list(range(11, 17)))
    assert (half.aspect, half.padding, half.min_keypoints) == (0.75, 1.5, 8)
    assert (half.probability, half.upper_probability) == (0.3, 0.5)
    assert build_pixel_changes(cfg) == []
    cfg.merge_from_list(
        ["INPUT.CROPS.COLOR", True, "INPUT.CROPS.CUTOUT", True, "INPUT.CROPS.SHIFT.PROB", 0.3]
    )
    assert build_region_changes(cfg, skeleton)[0] == Shift(0.16, 0.3)
    assert [type(change) for change in build_pixel_changes(cfg)] == [PhotometricDistortion, Cutout]


def test_everything_can_be_left_out():
    cfg = get_cfg()
    cfg.merge_from_list(["INPUT.RANDOM_FLIP", "none", "INPUT.CROPS.SCALE", 0.0])
    cfg.merge_from_list(["INPUT.CROPS.ROTATION.PROB", 0.0])
    without_halves = Skeleton("two", ("a", "b"), (), (), (0.1, 0.1))
    assert build_region_changes(cfg, without_halves) == []
    cfg.merge_from_list(["INPUT.CROPS.HALF_BODY.PROB", 0.0])
    assert build_region_changes(cfg, load_skeleton("coco_17")) == []
    cfg.INPUT.RANDOM_FLIP = "vertical"
    with pytest.raises(ValueError, match=r"INPUT\.RANDOM_FLIP must be"):
        build_region_changes(cfg, without_halves)
