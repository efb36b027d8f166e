"""The assignment of locations to boxes, against its definition, one location and one box at a time."""

import math

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from posecore.modeling.fcos.locations import Locations, make_locations
from posecore.modeling.fcos.targets import assign

SIZES, STRIDES, RANGES = [(8, 10), (4, 5), (2, 3)], [8, 16, 32], (24, 48)


def one_by_one(
    locations: Locations, boxes: torch.Tensor, radius: float, ranges: tuple | None, inside_box: bool
) -> list[int]:
    limits = [-1.0, *(ranges or ()), math.inf]
    matched = []
    for (x, y), stride, level in zip(
        locations.points.tolist(), locations.strides.tolist(), locations.levels.tolist(), strict=True
    ):
        best, best_area = -1, math.inf
        for index, (x0, y0, x1, y1) in enumerate(boxes.tolist()):
            region = [
                (x0 + x1) / 2 - radius * stride,
                (y0 + y1) / 2 - radius * stride,
                (x0 + x1) / 2 + radius * stride,
                (y0 + y1) / 2 + radius * stride,
            ]
            if inside_box:
                region = [
                    max(region[0], x0),
                    max(region[1], y0),
                    min(region[2], x1),
                    min(region[3], y1),
                ]
            inside = region[0] < x < region[2] and region[1] < y < region[3]
            size = max(x - x0, y - y0, x1 - x, y1 - y)
            fits = ranges is None or limits[level] <= size <= limits[level + 1]
            area = (x1 - x0) * (y1 - y0)
            if inside and fits and area < best_area:
                best, best_area = index, area
        matched.append(best)
    return matched


# Whole and half pixels, so that locations lie on sides of boxes, sizes are ends of ranges, and boxes have
# equal areas.
halves = st.integers(-20, 200).map(lambda value: value / 2)


@given(
    corners=st.lists(st.tuples(halves, halves, halves, halves), max_size=5),
    radius=st.sampled_from([0.5, 1.5, 3.0]),
    ranges=st.sampled_from([None, RANGES]),
    inside_box=st.booleans(),
)
def test_equals_the_definition(corners: list, radius: float, ranges: tuple | None, inside_box: bool) -> None:
    boxes = torch.tensor([[min(a, c), min(b, d), max(a, c), max(b, d)] for a, b, c, d in corners])
    boxes = boxes.reshape(-1, 4)
    locations = make_locations(SIZES, STRIDES)
    matched = assign(locations, boxes, radius=radius, size_ranges=ranges, inside_box=inside_box)
    assert matched.tolist() == one_by_one(locations, boxes, radius, ranges, inside_box)


def test_without_boxes_all_locations_are_background() -> None:
    locations = make_locations(SIZES, STRIDES)
    matched = assign(locations, torch.zeros(0, 4), radius=1.5, size_ranges=RANGES)
    assert matched.tolist() == [-1] * len(locations)


def test_the_first_of_equal_boxes_is_matched() -> None:
    locations = make_locations([(4, 4)], [8])
    boxes = torch.tensor([[0.0, 0.0, 32.0, 32.0]]).repeat(3, 1)
    assert set(assign(locations, boxes, radius=1.5, size_ranges=None).tolist()) == {-1, 0}


def test_ranges_must_fit_the_levels() -> None:
    locations = make_locations(SIZES, STRIDES)
    with pytest.raises(ValueError, match="SIZE_RANGES"):
        assign(locations, torch.ones(1, 4), radius=1.5, size_ranges=(64, 128, 256))
