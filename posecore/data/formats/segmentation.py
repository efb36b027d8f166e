"""The areas of segmentations in COCO's format: :func:`segmentation_area`."""

import itertools
from typing import Any

from pycocotools import mask

from posecore.data.formats.document import MAX_COORDINATE


def segmentation_area(segmentation: Any, height: int, width: int) -> float | None:
    """The area that a segmentation covers, in square pixels.

    Args:
        segmentation: polygons, each a list of x, y, x, y, ... of 3 points at least, or a run-length encoding:
            ``{"size": [height, width], "counts": ...}`` with counts as a list or as COCO's compressed text.
        height, width: of the image.

    Returns:
        None where the segmentation is no valid one: text, a flat list, polygons of fewer than 3 points, an
        encoding without counts, of another size than the image's, or whose counts do not add up to it.
    """
    if isinstance(segmentation, dict):
        counts = _counts(segmentation.get("counts"))
        size = segmentation.get("size")
        if counts is None or size != [height, width] or sum(counts) != height * width:
            return None
        return float(sum(counts[1::2]))
    if not isinstance(segmentation, list) or not segmentation or not all(map(_is_polygon, segmentation)):
        return None
    return float(mask.area(mask.merge(mask.frPyObjects(segmentation, height, width))))


def _is_polygon(polygon: Any) -> bool:
    return (
        isinstance(polygon, list)
        and len(polygon) >= 6
        and len(polygon) % 2 == 0
        and all(type(value) in (int, float) and abs(value) <= MAX_COORDINATE for value in polygon)
    )


def _counts(counts: Any) -> list[int] | None:
    """The lengths of the runs of a run-length encoding; None where it is no valid one."""
    if isinstance(counts, str):
        counts = _decompressed(counts)
    if not isinstance(counts, list) or not all(type(count) is int and count >= 0 for count in counts):
        return None
    return counts


def _decompressed(text: str) -> list[int] | None:
    """The run lengths of COCO's compressed text, as pycocotools' rleFrString reads them; None for other text.

    A number is a sequence of characters with five bits each, the lowest first; the sixth bit of each but the
    last is set. From the fourth on, numbers are differences to the second one before. pycocotools itself
    reads beyond the end of text that is cut.
    """
    counts: list[int] = []
    codes = iter(ord(character) - 48 for character in text)
    for first in codes:
        value = shift = 0
        for code in itertools.chain([first], codes):
            if not 0 <= code < 64 or shift > 60:
                return None
            value |= (code & 31) << shift
            shift += 5
            if not code & 32:
                break
        else:
            return None
        if code & 16:
            value -= 1 << shift
        counts.append(value + counts[-2] if len(counts) > 2 else value)
    return counts
