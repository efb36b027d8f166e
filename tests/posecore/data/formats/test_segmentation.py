"""Areas of segmentations: those of pycocotools where they are valid, none where they are not."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import array_shapes, arrays
from pycocotools import mask

from posecore.data.formats.segmentation import segmentation_area

SQUARE = [10, 10, 30, 10, 30, 20, 10, 20]


@given(arrays(np.uint8, array_shapes(min_dims=2, max_dims=2, max_side=40), elements=st.integers(0, 1)))
def test_compressed_encodings(pixels):
    encoded = mask.encode(np.asfortranarray(pixels))
    text = {"size": list(pixels.shape), "counts": encoded["counts"].decode()}
    assert segmentation_area(text, *pixels.shape) == pixels.sum()
    runs = np.diff(np.flatnonzero(np.diff(pixels.ravel(order="F"), prepend=0, append=2)), prepend=0).tolist()
    assert segmentation_area(text | {"counts": runs}, *pixels.shape) == pixels.sum()


@pytest.mark.parametrize(("polygons", "area"), [([SQUARE], 200), ([SQUARE, [0, 0, 4, 0, 4, 5, 0, 5]], 220)])
def test_polygons(polygons, area):
    assert segmentation_area(polygons, 40, 60) == area


@pytest.mark.parametrize(
    "segmentation",
    [
        *(None, [], {}, "text", 3, True, [[]], [None], [SQUARE, None], SQUARE, [SQUARE, [1, 2, 3, 4]]),
        *(
            [[5, 5]],
            [[1, 2, 3, 4]],
            [[*SQUARE, 1]],
            [["1"] * 6],
            [[True] * 6],
            [[1, 2, 3, 4, 5, float("nan")]],
        ),
        *([[1e300] * 6], [[10**400] * 6], [[1, 2, 3, 4, 5, float("inf")]]),
        *({"size": [40, 60]}, {"counts": [2400]}, {"size": [40, 60], "counts": None}),
        *({"size": [10, 10], "counts": [0, 100]}, {"size": [60, 40], "counts": [2400]}),
        *({"size": [40, 60], "counts": [2399]}, {"size": [40, 60], "counts": [-1, 2401]}),
        *({"size": [40, 60], "counts": [2400.0]}, {"size": [40, 60], "counts": "not an rle ~~~"}),
        *(
            {"size": [40, 60], "counts": "P"},
            {"size": [40, 60], "counts": "o" * 50},
            {"size": 3, "counts": "0"},
        ),
    ],
)
def test_wrong_ones_have_no_area(segmentation):
    assert segmentation_area(segmentation, 40, 60) is None


@given(st.text(st.characters(min_codepoint=40, max_codepoint=130), max_size=30))
def test_no_text_is_read_beyond_its_end(counts):
    segmentation_area({"size": [40, 60], "counts": counts}, 40, 60)
