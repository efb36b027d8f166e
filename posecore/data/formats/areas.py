"""The areas of persons: which are valid, what stands in for others, and which do not fit their box."""

import sys
from collections.abc import Collection
from typing import Any

import numpy as np

from posecore.data.formats.document import short
from posecore.data.formats.notices import Notices
from posecore.data.formats.segmentation import segmentation_area
from posecore.structures.boxes import AREA_OF_BOX

# Areas outside these shares of the person's box are probably wrong: converters write 0 or 1 for all persons.
LEAST_SHARE, GREATEST_SHARE = 0.02, 1.05


def is_area(value: Any) -> bool:
    """Whether a value is a finite number above 0."""
    return type(value) in (int, float) and 0 < value <= sys.float_info.max


def fill_area(person: dict, image: dict, notices: Notices, lacking: Collection[str]) -> None:
    """Gives a person without a valid area that of its segmentation, else its share of the box.

    Raises:
        ValueError: there is neither, and evaluation would need it.
    """
    given, segmentation = person.get("area"), person.get("segmentation")
    area = None
    if segmentation:
        area = segmentation_area(segmentation, image["height"], image["width"])
        if area is None:
            explanation = (
                "a segmentation that is no valid one (polygons of 3 points or more, or an RLE of the image's "
                "size with counts), of which no area is taken"
            )
            notices.ids[explanation].append(person["id"])
    if not area:
        area = AREA_OF_BOX * person["bbox"][2] * person["bbox"][3]
    if not area and person["num_keypoints"] and not person["iscrowd"]:
        raise ValueError(
            f"annotation {person['id']}: area must be a finite number above 0, not {short(given)}, or bbox "
            f"must have a width and a height that it is taken from, not {person['bbox']}: the tolerance of "
            "the evaluation grows with the area, and would be 0"
        )
    if given is not None or "area" not in lacking:
        explanation = (
            "no valid area (a finite number above 0): taken from the segmentation where there is one, else "
            f"{AREA_OF_BOX} of the box"
        )
        notices.ids[explanation].append(person["id"])
    person["area"] = area


def judge_areas(people: list[dict], notices: Notices) -> None:
    """Notes boxes without a size, and areas that do not fit their box."""
    posed = [person for person in people if person["num_keypoints"] and not person["iscrowd"]]
    boxes = np.array([person["bbox"][2:] for person in posed], dtype=np.float64).reshape(-1, 2)
    sizes = boxes.prod(axis=1)
    areas = np.array([person["area"] for person in posed], dtype=np.float64)
    wrong = {
        "keypoints, but a bbox without a size: training with annotated boxes leaves them out": sizes <= 0,
        f"an area below {LEAST_SHARE:.0%} or above {GREATEST_SHARE:.0%} of their box: the tolerance of the "
        "evaluation grows with the area": (sizes > 0) & ~fitting(areas, sizes),
    }
    for explanation, chosen in wrong.items():
        if chosen.any():
            notices.ids[explanation] += [posed[index]["id"] for index in np.flatnonzero(chosen)]


def fitting(areas: np.ndarray, boxes: np.ndarray) -> np.ndarray:
    """(n,) bool: which areas fit their boxes; areas and boxes (n,) in square pixels."""
    return (areas >= LEAST_SHARE * boxes) & (areas <= GREATEST_SHARE * boxes)
