"""How persons lie in their image, from upright to upside down: :func:`torso_angles`.

:data:`DIRECTIONS` are groups of persons by it, and :func:`pose_angles` says which poses belong to them.

Letters: K keypoints, P persons, D poses.
"""

from collections import defaultdict
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import torch

from posecore.evaluation.matches import THRESHOLDS
from posecore.evaluation.pck import torso_indices
from posecore.structures.oks import oks
from posecore.structures.skeleton import Skeleton

# The angles of torsos, degrees, from and to.
DIRECTIONS = {
    "upright": (0, 30),
    "leaning": (30, 60),
    "lying": (60, 120),
    "upside down": (120, 181),
}


def torso_angles(keypoints: np.ndarray, labeled: np.ndarray, skeleton: Skeleton) -> np.ndarray:
    """The angles between torsos and the upward direction of the image, from 0 (upright) to 180 degrees.

    A torso leads from the middle of the hips to that of the shoulders.

    Args:
        keypoints: (P, K, 2), pixels.
        labeled: (P, K) bool.
        skeleton: of K keypoints.

    Returns:
        (P,); NaN where a shoulder or a hip is not labeled, or the torso has no length.

    Raises:
        ValueError: the skeleton lacks shoulders or hips.
    """
    shoulders, hips = torso_indices(skeleton).T
    x, y = (keypoints[:, shoulders] - keypoints[:, hips]).mean(axis=1).T
    known = labeled[:, [*shoulders, *hips]].all(axis=1) & ((x != 0) | (y != 0))
    return np.where(known, np.degrees(np.arctan2(np.abs(x), -y)), np.nan)


def person_angles(people: Sequence[Mapping[str, Any]], skeleton: Skeleton) -> np.ndarray:
    """:func:`torso_angles` of P annotations."""
    keypoints = _keypoints(people, skeleton)
    return torso_angles(keypoints[..., :2], keypoints[..., 2] > 0, skeleton)


def pose_angles(
    people: Sequence[Mapping[str, Any]], results: Sequence[Mapping[str, Any]], skeleton: Skeleton
) -> np.ndarray:
    """The angle for which each of D poses counts: that of the person whom it is like, else its own.

    A pose is like the person with whom it has the greatest OKS, of 0.5 at least.

    Args:
        people: annotations of the persons to be found.
        results: D, as :func:`posecore.evaluation.results.coco_results` makes them.
        skeleton: of K keypoints.

    Returns:
        (D,), as :func:`torso_angles`.
    """
    poses = _keypoints(results, skeleton)[..., :2]
    angles = torso_angles(poses, np.ones(poses.shape[:2], dtype=bool), skeleton)
    of_people, keypoints = person_angles(people, skeleton), torch.from_numpy(_keypoints(people, skeleton))
    areas = torch.tensor([person["area"] for person in people], dtype=torch.float64)
    sigmas = torch.tensor(skeleton.sigmas, dtype=torch.float64)
    in_image, found = defaultdict(list), defaultdict(list)
    for index, person in enumerate(people):
        in_image[person["image_id"]].append(index)
    for index, result in enumerate(results):
        found[result["image_id"]].append(index)
    for image_id in in_image.keys() & found.keys():
        own, theirs = found[image_id], in_image[image_id]
        persons = keypoints[theirs]
        similar = oks(
            torch.from_numpy(poses[own]), persons[..., :2], areas[theirs], sigmas, persons[..., 2] > 0
        )
        best, nearest = (values.numpy() for values in similar.max(dim=1))
        angles[own] = np.where(best >= THRESHOLDS[0], of_people[theirs][nearest], angles[own])
    return angles


def _keypoints(items: Sequence[Mapping[str, Any]], skeleton: Skeleton) -> np.ndarray:
    """(n, K, 3) of annotations or results."""
    numbers = np.array([item["keypoints"] for item in items], dtype=np.float64)
    return numbers.reshape(len(items), skeleton.num_keypoints, 3)
