"""AP of each keypoint and of groups of persons, and curves of PCK: where a model is good and where not.

:func:`keypoint_precision` compares poses by one keypoint alone, :func:`group_precision` counts the persons of
one group alone, and :func:`pck_curves` counts keypoints within a distance.

Letters: K keypoints, P persons, A distances.
"""

from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from torchvision.ops import box_iou

from posecore.evaluation.coco import score
from posecore.evaluation.directions import DIRECTIONS, person_angles, pose_angles
from posecore.evaluation.matches import match_poses, precision_and_recall
from posecore.evaluation.pck import has_torso, pck_ground_truth
from posecore.structures.skeleton import Skeleton

# Areas of persons, square pixels; the first two are COCO's.
SIZES = {
    "below 32² px": (0, 32**2),
    "32² to 96² px": (32**2, 96**2),
    "96² to 192² px": (96**2, 192**2),
    "above 192² px": (192**2, 1e10),
}
# The numbers of persons in an image, from and to.
CROWDING = {"1 person": (1, 1), "2 or 3": (2, 3), "4 to 7": (4, 7), "8 or more": (8, 10**9)}
# The overlaps (IoU) of a person's box with its neighbor's.
OVERLAPS = {
    "below 0.05": (0, 0.05),
    "0.05 to 0.25": (0.05, 0.25),
    "0.25 to 0.5": (0.25, 0.5),
    "above 0.5": (0.5, 2),
}


@dataclass(frozen=True)
class GroupPrecision:
    """AP of a group of persons.

    Attributes:
        name: of the group.
        num_persons: persons of the group that are to be found.
        precision: AP in percent; NaN without persons.
    """

    name: str
    num_persons: int
    precision: float


@dataclass(frozen=True)
class PCKCurves:
    """Shares of correct keypoints by the distance up to which they are correct.

    Attributes:
        normalizer: the length that distances are measured in, in words.
        distances: (A,), in this length.
        keypoints: (A, K), in percent; NaN where nobody has the keypoint.
        mean: (A,), over all labeled keypoints.
        num_persons: persons that have the length.
    """

    normalizer: str
    distances: np.ndarray
    keypoints: np.ndarray
    mean: np.ndarray
    num_persons: int


def is_counted(person: Mapping[str, Any]) -> bool:
    """Whether a person is to be found, as COCO's evaluation has it: no crowd, and with labeled keypoints."""
    return bool(person["num_keypoints"]) and not person["iscrowd"]


def keypoint_precision(
    ground_truth: dict[str, Any], results: list[dict[str, Any]], skeleton: Skeleton
) -> list[float]:
    """AP of each keypoint in percent: OKS has this keypoint alone, and persons without it are ignored.

    As COCO's evaluation has it for persons without labels, a pose belongs to an ignored person where its
    keypoint is in the person's box or near it; a pose whose keypoint is farther away counts as wrong.

    Args:
        ground_truth: as :func:`posecore.data.read_coco` returns it.
        results: as :func:`posecore.evaluation.results.coco_results` makes them.
        skeleton: of K keypoints.

    Returns:
        K numbers; NaN where nobody has the keypoint.
    """
    precisions = []
    for k, sigma in enumerate(skeleton.sigmas):
        own = slice(3 * k, 3 * k + 3)
        people = [
            person
            | {"keypoints": person["keypoints"][own], "num_keypoints": int(person["keypoints"][own][2] > 0)}
            for person in ground_truth["annotations"]
        ]
        poses = [result | {"keypoints": result["keypoints"][own]} for result in results]
        part = ground_truth | {"annotations": people}
        precisions.append(score(part, poses, "keypoints", [sigma], "hotcoco")["AP"])
    return precisions


def group_precision(
    ground_truth: dict[str, Any], results: list[dict[str, Any]], skeleton: Skeleton
) -> dict[str, list[GroupPrecision]]:
    """AP of persons by their size, crowding, overlap with a neighbor, labeled keypoints and direction.

    Persons of other groups are ignored, as crowds are: they need not be found, and a pose that matches one
    does not count. Poses without a match count by size where they have that size themselves (COCO's rule), by
    direction likewise (:func:`posecore.evaluation.directions.pose_angles`), by crowding in their own image,
    and otherwise in every group: nothing says to which group they belong. Persons whose shoulders and hips
    are not all labeled are in no group of directions.

    Args:
        ground_truth: as :func:`posecore.data.read_coco` returns it.
        results: as :func:`posecore.evaluation.results.coco_results` makes them.
        skeleton: of K keypoints.

    Returns:
        "size", "crowding", "overlap" and "labeled": their groups; and "direction" where the skeleton has
        shoulders and hips.
    """
    annotations = ground_truth["annotations"]
    persons = [person for person in annotations if is_counted(person)]
    groups: dict[str, list[GroupPrecision]] = {"size": []}
    for name, matches in match_poses(ground_truth, results, skeleton.sigmas, SIZES).items():
        average, _ = precision_and_recall(matches)
        groups["size"].append(
            GroupPrecision(name, int(matches.num_persons.sum()), 100 * float(average.mean()))
        )

    all_sizes = match_poses(ground_truth, results, skeleton.sigmas, {"": (0, 1e10)})[""]
    in_image: dict[Any, int] = defaultdict(int)
    for person in annotations:
        in_image[person["image_id"]] += not person["iscrowd"]
    counts = np.array([in_image[image["id"]] for image in ground_truth["images"]])
    groups["crowding"] = []
    for name, (low, high) in CROWDING.items():
        chosen = ((counts >= low) & (counts <= high)).astype(float)
        average, _ = precision_and_recall(all_sizes, chosen)
        number = int(all_sizes.num_persons @ chosen)
        groups["crowding"].append(GroupPrecision(name, number, 100 * float(average.mean())))

    overlaps = neighbor_overlaps(annotations)
    members = {
        name: {person["id"] for person in persons if low <= overlaps[person["id"]] < high}
        for name, (low, high) in OVERLAPS.items()
    }
    groups["overlap"] = _of_members(members, ground_truth, results, skeleton)
    members = {
        f"{low} to {high}" if low < high else f"{low}": {
            person["id"] for person in persons if low <= person["num_keypoints"] <= high
        }
        for low, high in labeled_ranges(skeleton.num_keypoints)
    }
    groups["labeled"] = _of_members(members, ground_truth, results, skeleton)
    if has_torso(skeleton):
        angles, angles_of_poses = person_angles(persons, skeleton), pose_angles(persons, results, skeleton)
        groups["direction"] = []
        for name, (low, high) in DIRECTIONS.items():
            members = {name: {person["id"] for person in _chosen(persons, angles, low, high)}}
            poses = _chosen(results, angles_of_poses, low, high)
            groups["direction"] += _of_members(members, ground_truth, poses, skeleton)
    return groups


def labeled_ranges(num_keypoints: int) -> list[tuple[int, int]]:
    """Four ranges of nearly equal width of the numbers of labeled keypoints, fewer for K below 4."""
    ends = sorted({round(num_keypoints * part / 4) for part in range(1, 5)} - {0})
    return [(low + 1, high) for low, high in zip([0, *ends], ends, strict=False)]


def neighbor_overlaps(annotations: Sequence[Mapping[str, Any]]) -> dict[Any, float]:
    """The greatest overlap (IoU) of each person's box with another's in its image, by annotation id."""
    people = defaultdict(list)
    for person in annotations:
        if not person["iscrowd"]:
            people[person["image_id"]].append(person)
    overlaps: dict[Any, float] = {}
    for own in people.values():
        boxes = torch.tensor([person["bbox"] for person in own], dtype=torch.float64).reshape(-1, 4)
        corners = torch.cat([boxes[:, :2], boxes[:, :2] + boxes[:, 2:]], dim=1)
        shared = box_iou(corners, corners).nan_to_num().fill_diagonal_(0).amax(dim=1)
        overlaps |= {person["id"]: value for person, value in zip(own, shared.tolist(), strict=True)}
    return overlaps


def pck_curves(
    people: Sequence[Mapping[str, Any]], poses: np.ndarray, skeleton: Skeleton, distances: np.ndarray
) -> PCKCurves:
    """PCK of poses by distance, in lengths of the torso, or of the longer side of the box without a torso.

    Args:
        people: P annotations with keypoints (3K numbers) and bbox.
        poses: (P, K, 2), pixels counted from 0; infinite where a person was not found.
        skeleton: of K keypoints.
        distances: (A,).
    """
    if has_torso(skeleton):
        standard = pck_ground_truth([dict(person) for person in people], skeleton)
        keypoints, labeled, lengths = standard.keypoints, standard.labeled, standard.torsos
        normalizer = "torso, from a shoulder to the other side's hip"
    else:
        numbers = np.array([person["keypoints"] for person in people], dtype=np.float64)
        numbers = numbers.reshape(len(people), skeleton.num_keypoints, 3)
        keypoints, labeled = numbers[..., :2], numbers[..., 2] > 0
        lengths = np.array([max(person["bbox"][2:]) for person in people], dtype=np.float64)
        normalizer = "longer side of the person's box"
    counted = labeled & (lengths > 0)[:, None]
    away = np.linalg.norm(poses - keypoints, axis=-1)  # (P, K)
    with np.errstate(divide="ignore", invalid="ignore"):
        away = np.where(counted, away / lengths[:, None], np.inf)
        correct = away[None] <= distances[:, None, None]  # (A, P, K)
        of_keypoint = 100 * correct.sum(axis=1) / counted.sum(axis=0)
        mean = 100 * correct.sum(axis=(1, 2)) / counted.sum()
    return PCKCurves(normalizer, distances, of_keypoint, mean, int((lengths > 0).sum()))


def _chosen(
    items: Sequence[dict[str, Any]], angles: np.ndarray, low: float, high: float
) -> list[dict[str, Any]]:
    """The items whose angle is from ``low`` to below ``high``."""
    return [item for item, angle in zip(items, angles, strict=True) if low <= angle < high]


def _of_members(
    groups: Mapping[str, set], ground_truth: dict[str, Any], results: list[dict[str, Any]], skeleton: Skeleton
) -> list[GroupPrecision]:
    """AP of groups of persons, given by the ids of their annotations."""
    precisions = []
    for name, ids in groups.items():
        people = [
            person if person["id"] in ids else person | {"num_keypoints": 0}
            for person in ground_truth["annotations"]
        ]
        part = ground_truth | {"annotations": people}
        found = score(part, results, "keypoints", skeleton.sigmas, "hotcoco")["AP"] if ids else float("nan")
        precisions.append(GroupPrecision(name, len(ids), found))
    return precisions
