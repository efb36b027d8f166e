"""The way between images and crops, in both directions and in both kinds of coordinates."""

from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from numpy.testing import assert_allclose

from posecore.structures.crops import CropGeometry, Region, enlarge, transform

FIRST_PIXELS = st.sampled_from([0.5, 0.0])
SIZES = st.tuples(st.integers(8, 400), st.integers(8, 400))
NUMBERS = st.floats(-2000, 2000)


@st.composite
def regions(draw, geometry):
    width = draw(st.floats(2, 3000))
    return Region(
        np.array([draw(NUMBERS), draw(NUMBERS)]),
        np.array([width, width / geometry.aspect]),
        draw(st.floats(-180, 180)),
        draw(st.booleans()),
    )


@given(st.data(), SIZES, FIRST_PIXELS)
def test_there_and_back(data, size, first_pixel):
    geometry = CropGeometry(size, first_pixel=first_pixel)
    region = data.draw(regions(geometry))
    keypoints = np.array([[data.draw(NUMBERS), data.draw(NUMBERS), 2.0] for _ in range(3)])
    in_crop = transform(geometry.in_image(keypoints)[:, :2], geometry.image_to_crop(region))
    back = transform(in_crop, geometry.crop_to_image(region))
    assert_allclose(back, keypoints[:, :2], atol=1e-6)
    assert_allclose(geometry.in_image(keypoints)[:, 2], 2)


@given(st.data(), SIZES)
def test_the_crop_shows_its_region(data, size):
    """Center to center, corners to corners; lengths change by the ratio of the widths."""
    geometry = CropGeometry(size)
    region = replace(data.draw(regions(geometry)), angle=0.0, flipped=False)
    affine = geometry.image_to_crop(region)
    corners = np.stack([region.center - region.size / 2, region.center, region.center + region.size / 2])
    width_height = np.array(size[::-1])
    assert_allclose(transform(corners, affine), [[0, 0], width_height / 2, width_height], atol=1e-6)


@given(
    st.lists(st.floats(-100, 500), min_size=2, max_size=2),
    st.lists(st.floats(0.5, 800), min_size=2, max_size=2),
    st.floats(0.3, 3),
)
def test_regions_hold_their_box_in_the_shape_of_the_crop(low, extent, aspect):
    box = np.array([*low, *np.add(low, extent)])
    region = enlarge(box, aspect, 1.25)
    assert_allclose(region.size[0] / region.size[1], aspect)
    assert_allclose(region.center, (box[:2] + box[2:]) / 2)
    assert (region.size >= 1.25 * np.array(extent) * (1 - 1e-9)).all()
    assert np.isclose(region.size / 1.25, extent).any()


def dots(points, size):
    """An image of (height, width) with a soft dot at a point (continuous pixels) in each channel."""
    rows, columns = np.mgrid[: size[0], : size[1]] + 0.5
    spots = [np.exp(-((columns - x) ** 2 + (rows - y) ** 2) / 18) for x, y in points]
    return (250 * np.stack(spots, axis=-1)).round().astype(np.uint8)


def find_dots(crop):
    """(3, 2), where they are, continuous pixels of the crop."""
    rows, columns = np.mgrid[: crop.shape[0], : crop.shape[1]] + 0.5
    weights = crop.astype(float) / crop.sum(axis=(0, 1))
    return np.stack([(columns[..., None] * weights).sum((0, 1)), (rows[..., None] * weights).sum((0, 1))], 1)


@pytest.mark.parametrize("first_pixel", [0.5, 0.0])
@pytest.mark.parametrize("size", [(128, 96), (61, 83)])
@pytest.mark.parametrize("flipped", [False, True])
@pytest.mark.parametrize("angle", [0.0, 30.0, -77.5])
def test_pixels_go_where_points_go(first_pixel, size, flipped, angle):
    points = np.array([[60.5, 42.25], [75.0, 60.0], [80.75, 35.5]])
    image = dots(points, (101, 140))
    before = image.copy()
    geometry = CropGeometry(size, first_pixel=first_pixel)
    region = replace(geometry.region(np.array([50.0, 22, 90, 73])), angle=angle, flipped=flipped)
    crop = geometry.cut(image, region)
    assert crop.shape == (*size, 3)
    keypoints = geometry.in_image(np.column_stack([points, np.ones(3)]))
    expected = transform(keypoints[:, :2], geometry.image_to_crop(region))
    # Where pixels are counted, the center of the first is at 0.
    assert_allclose(find_dots(crop) - 0.5 + first_pixel, expected, atol=0.1)
    assert np.array_equal(image, before)


def test_the_turn_is_counterclockwise():
    geometry = CropGeometry((100, 100), padding=1.0)
    affine = geometry.image_to_crop(replace(geometry.region(np.array([0.0, 0, 100, 100])), angle=90.0))
    right_of_the_center, above_it = np.array([90.0, 50]), np.array([50.0, 10])
    assert_allclose(transform(right_of_the_center, affine), above_it)


@pytest.mark.parametrize(("first_pixel", "last"), [(0.5, 20.0), (0.0, 19.0)])
def test_borders(first_pixel, last):
    geometry = CropGeometry((10, 20), first_pixel=first_pixel)
    points = np.array([[0.0, 0], [last, 0], [last + 0.01, 0], [-0.01, 0], [0, last]])
    assert geometry.inside(points).tolist() == [True, True, False, False, False]
    boxes = geometry.clip(np.array([[-5.0, 2, 500, 7], [30, 30, 40, 40]]), (10, 20))
    assert boxes.tolist() == [[0, 2, last, 7], [last, last - 10, last, last - 10]]


def test_outside_of_the_image_is_black():
    geometry = CropGeometry((40, 40))
    crop = geometry.cut(np.full((10, 10, 3), 200, np.uint8), geometry.region(np.array([0.0, 0, 10, 10])))
    assert (crop[20, 20] == 200).all()
    assert not crop[0].any()
    assert not crop[:, -1].any()
