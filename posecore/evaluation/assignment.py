"""The assignment of detections to labeled persons by the overlap of their boxes: :func:`assign_results`.

Measures that judge one pose for each labeled person (PCKh, PCK) use it for models that find everybody.
"""

from collections import defaultdict
from collections.abc import Sequence
from typing import Any

import numpy as np
import torch
from scipy.optimize import linear_sum_assignment
from torchvision.ops import box_iou


def assign_results(
    people: Sequence[dict[str, Any]], results: Sequence[dict[str, Any]]
) -> list[dict[str, Any] | None]:
    """The result of each of N persons: in each image, the assignment with the greatest sum of overlaps (IoU).

    A result belongs to one person at most; scores do not matter.

    Args:
        people: N annotations with image_id and bbox.
        results: as :func:`posecore.evaluation.results.coco_results` makes them, with bbox.

    Returns:
        N of the results, None for persons whose box no assigned result overlaps.
    """
    assigned: list[dict[str, Any] | None] = [None] * len(people)
    in_image, found_in_image = defaultdict(list), defaultdict(list)
    for index, person in enumerate(people):
        in_image[person["image_id"]].append(index)
    for result in results:
        found_in_image[result["image_id"]].append(result)
    for image_id, indices in in_image.items():
        found = found_in_image[image_id]
        overlaps = box_iou(_corners([people[index] for index in indices]), _corners(found)).numpy()
        for row, column in zip(*linear_sum_assignment(overlaps, maximize=True), strict=True):
            if overlaps[row, column] > 0:
                assigned[indices[row]] = found[column]
    return assigned


def assigned_poses(assigned: Sequence[dict[str, Any] | None], num_keypoints: int) -> np.ndarray:
    """The poses of the results of :func:`assign_results`.

    Args:
        assigned: N results or None.
        num_keypoints: K.

    Returns:
        (N, K, 2), pixels counted from 0; infinite where there is no result.
    """
    poses = np.full((len(assigned), num_keypoints, 2), np.inf)
    for pose, result in zip(poses, assigned, strict=True):
        if result is not None:
            pose[:] = np.reshape(result["keypoints"], (num_keypoints, 3))[:, :2]
    return poses


def _corners(items: Sequence[dict[str, Any]]) -> torch.Tensor:
    """(n, 4): x, y, width, height -> x1, y1, x2, y2."""
    boxes = torch.tensor([item["bbox"] for item in items], dtype=torch.float64).reshape(-1, 4)
    return torch.cat([boxes[:, :2], boxes[:, :2] + boxes[:, 2:]], dim=1)
