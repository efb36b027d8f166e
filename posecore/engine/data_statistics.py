"""Measures a dataset for its configuration: :class:`DataStatistics`."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np

from posecore.config.errors import UsageError


@dataclass(frozen=True)
class DataStatistics:
    """The numbers of a training dataset that its configuration depends on.

    Attributes:
        images: number of images.
        persons: number of persons that are no crowds and have a labeled keypoint.
        shorter: median of the shorter sides of the images, pixels.
        aspect: the longer side by the shorter one, a quantile of 0.95.
        lengths: quantiles 0.1, 1/3, 1/2 and 2/3 of the longer sides of persons' boxes, pixels.
        height_by_width: median of the boxes' heights by their widths.
        most_persons: the greatest number of persons of an image.
        has_thin_boxes: whether boxes exist of which a side is below a pixel.
        has_hidden: whether keypoints are labeled as hidden.
    """

    images: int
    persons: int
    shorter: float
    aspect: float
    lengths: tuple[float, float, float, float]
    height_by_width: float
    most_persons: int
    has_thin_boxes: bool
    has_hidden: bool


def measure(content: Mapping[str, Any], name: str) -> DataStatistics:
    """The statistics of a dataset.

    Args:
        content: what :func:`posecore.data.datasets.read_dataset` returns.
        name: of the dataset, for messages.

    Raises:
        UsageError: it has no labeled person.
    """
    people = [
        person
        for person in content.get("annotations", [])
        if not person["iscrowd"] and person["num_keypoints"] > 0
    ]
    if not people:
        raise UsageError(
            f"dataset {name} has no person with a labeled keypoint: there is nothing to train on"
        )
    sizes = np.array([(image["width"], image["height"]) for image in content["images"]], dtype=float)
    boxes = np.array([person["bbox"][2:] for person in people], dtype=float)
    keypoints = np.array([person["keypoints"] for person in people], dtype=float)
    longer = np.maximum(boxes.max(axis=1), 1)
    _, counts = np.unique([str(person["image_id"]) for person in people], return_counts=True)
    return DataStatistics(
        images=len(sizes),
        persons=len(people),
        shorter=float(np.median(sizes.min(axis=1))),
        aspect=float(np.quantile(sizes.max(axis=1) / sizes.min(axis=1), 0.95)),
        lengths=tuple(float(value) for value in np.quantile(longer, (0.1, 1 / 3, 0.5, 2 / 3))),  # type: ignore[arg-type]
        height_by_width=float(np.median(np.maximum(boxes[:, 1], 1) / np.maximum(boxes[:, 0], 1))),
        most_persons=int(counts.max()),
        has_thin_boxes=bool((boxes < 1).any()),
        has_hidden=bool((keypoints[:, 2::3] == 1).any()),
    )
