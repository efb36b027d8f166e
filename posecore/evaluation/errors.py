"""Kinds of errors in poses, and what each costs in AP: :func:`find_errors` (Ronchi and Perona, ICCV 2017).

Each pose is matched to a person of the ground truth. A keypoint of a matched pose is compared with keypoints
of the ground truth by their similarity ks = exp(-d^2 / (2 a (2 s)^2)), where a is the area of the person that
has the ground-truth keypoint (section 3.1 of the paper):

    good        ks with the same keypoint of the matched person is 0.85 or more
    jitter      it is between 0.5 and 0.85
    inversion   it is less; ks with the matched person's keypoint of the other side is 0.5 or more
    swap        it is less; ks with the keypoint of another person, of either side, is 0.5 or more
    miss        all of these are less than 0.5

Where both an inversion and a swap are possible, the one with the greater similarity counts. Three kinds of
errors are not about keypoints: scores in the wrong order, poses without a match, and persons that no pose
matches (3.2, 3.3).
"""

import math
from collections import defaultdict
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from detectron2.utils.logger import create_small_table
from tabulate import tabulate
from torch import Tensor

from posecore.data.datasets import dataset_metadata, read_annotated, resolve_dataset
from posecore.evaluation.coco import Backend, score
from posecore.evaluation.submission import read_coco_results
from posecore.structures.oks import oks, paired_oks
from posecore.structures.skeleton import Skeleton

KINDS = ("good", "jitter", "inversion", "swap", "miss")

_GOOD, _NEAR = 0.85, 0.5
# The least OKS of a match; and the number of poses of an image that are evaluated.
_MATCHED, _EVALUATED = 0.1, 20


@dataclass(frozen=True)
class Errors:
    """The errors of poses on a dataset.

    Attributes:
        keypoints: number of labeled keypoints of matched persons by kind: kind -> (K,).
        num_background: number of poses without a match.
        num_missed: number of persons that no pose matches.
        precision: AP in percent.
        gains: by how much AP would be higher if one kind of error alone were corrected: "jitter",
            "inversion", "swap" and "miss" (their keypoints moved to the ground truth), "score" (poses ordered
            by their similarity with the ground truth), "background" (poses without a match left out) and
            "missed" (unmatched persons ignored).
    """

    keypoints: dict[str, Tensor]
    num_background: int
    num_missed: int
    precision: float
    gains: dict[str, float]


@dataclass(frozen=True)
class MatchedPose:
    """One of the evaluated poses of an image.

    Attributes:
        result: the entry of the results.
        person: the annotation of the matched person; None without a match.
        kinds: (K,), indices into KINDS; -1 where the person's keypoint is not labeled.
        similarity: OKS with the matched person; 0 without a match.
        best: the greatest OKS with any person of the image.
    """

    result: dict[str, Any]
    person: dict[str, Any] | None
    kinds: Tensor
    similarity: float
    best: float


def match_to_persons(
    ground_truth: dict[str, Any], results: list[dict[str, Any]], skeleton: Skeleton
) -> list[MatchedPose]:
    """The evaluated poses (the best 20 of each image), each with its person and the kinds of its keypoints.

    In the order of their scores, poses are matched to the person with the greatest OKS that is not matched
    yet, if it is 0.1 or more. Crowds and persons without labeled keypoints are left out.

    Args:
        ground_truth: as :func:`posecore.data.read_coco` returns it.
        results: as :func:`posecore.evaluation.results.coco_results` makes them; they are not modified.
        skeleton: its flip pairs are the keypoints that can be inverted.

    Returns:
        The poses by image, in the order of the images, by falling score in each.
    """
    people, found = defaultdict(list), defaultdict(list)
    for person in ground_truth["annotations"]:
        if person["num_keypoints"] and not person["iscrowd"]:
            people[person["image_id"]].append(person)
    for result in results:
        found[result["image_id"]].append(result)
    return [
        pose
        for image in ground_truth["images"]
        for pose in _judge(people[image["id"]], found[image["id"]], skeleton)
    ]


def find_errors(
    ground_truth: dict[str, Any],
    results: list[dict[str, Any]],
    skeleton: Skeleton,
    backend: Backend = "hotcoco",
) -> Errors:
    """Finds the errors of poses on a dataset, matched as :func:`match_to_persons` says.

    Args:
        ground_truth: as :func:`posecore.data.read_coco` returns it.
        results: as :func:`posecore.evaluation.results.coco_results` makes them; they are not modified.
        skeleton: its flip pairs are the keypoints that can be inverted.
        backend: the library that computes AP.
    """
    annotations = ground_truth["annotations"]
    poses = match_to_persons(ground_truth, results, skeleton)
    kinds = torch.stack([pose.kinds for pose in poses]) if poses else torch.zeros(0, skeleton.num_keypoints)
    matched = {pose.person["id"] for pose in poses if pose.person is not None}
    missed = {
        person["id"] for person in annotations if person["num_keypoints"] and not person["iscrowd"]
    } - matched

    def precision(ground_truth: dict[str, Any], results: list[dict[str, Any]]) -> float:
        return score(ground_truth, results, "keypoints", skeleton.sigmas, backend)["AP"]

    now = precision(ground_truth, results)
    gains = {kind: precision(ground_truth, [_corrected(pose, kind) for pose in poses]) for kind in KINDS[1:]}
    gains["score"] = precision(ground_truth, [pose.result | {"score": pose.best} for pose in poses])
    gains["background"] = precision(ground_truth, [pose.result for pose in poses if pose.person is not None])
    remaining = [
        person | {"num_keypoints": 0} if person["id"] in missed else person for person in annotations
    ]
    without_missed = precision(ground_truth | {"annotations": remaining}, results)
    # Where nobody is left to be found, there is no AP, and nothing to be gained.
    gains["missed"] = now if math.isnan(without_missed) else without_missed
    return Errors(
        keypoints={kind: (kinds == index).sum(dim=0) for index, kind in enumerate(KINDS)},
        num_background=sum(pose.person is None for pose in poses),
        num_missed=len(missed),
        precision=now,
        gains={kind: value - now for kind, value in gains.items()},
    )


def describe_errors_of_file(dataset: str, results_file: Path) -> str:
    """The errors of a results file as two tables (:func:`format_errors`).

    Args:
        dataset: the path of a definition (.yaml), or the name of a built-in dataset.
        results_file: results of an evaluation on it in COCO's format.

    Raises:
        UsageError: an entry of the results is wrong.
        FileNotFoundError, ValueError: the dataset has no annotations, or a file is missing or cannot be read.
    """
    name = resolve_dataset(dataset)
    skeleton = dataset_metadata(name).skeleton
    ground_truth = read_annotated(name)
    results = read_results_on(ground_truth, results_file, skeleton)
    return format_errors(find_errors(ground_truth, results, skeleton), skeleton)


def read_results_on(
    ground_truth: dict[str, Any], results_file: Path, skeleton: Skeleton
) -> list[dict[str, Any]]:
    """The checked poses of a results file on a dataset.

    Args:
        ground_truth: as :func:`posecore.data.datasets.read_annotated` returns it.
        results_file: results of an evaluation on it in COCO's format.
        skeleton: of the dataset.

    Raises:
        FileNotFoundError: there is no such file.
        UsageError: it cannot be read, or an entry is wrong.
    """
    return read_coco_results(
        results_file,
        image_ids={image["id"] for image in ground_truth["images"]},
        num_keypoints=skeleton.num_keypoints,
        category_id=ground_truth["categories"][0]["id"],
    )


def format_errors(errors: Errors, skeleton: Skeleton) -> str:
    """Two tables: shares of each keypoint's kinds of errors in percent, and gains in AP."""
    rows = []
    for k, keypoint in enumerate(skeleton.keypoints):
        counts = [int(errors.keypoints[kind][k]) for kind in KINDS]
        shares = [100 * count / max(sum(counts), 1) for count in counts]
        rows.append([keypoint, sum(counts), *shares])
    shares_table = tabulate(rows, headers=["keypoint", "found", *KINDS], floatfmt=".1f")
    return (
        f"{shares_table}\n\n"
        f"{errors.num_background} poses are nobody's, {errors.num_missed} persons are not found.\n"
        f"AP is {errors.precision:.1f}; it would be higher by this if one kind of error were mended:\n"
        f"{create_small_table(errors.gains)}"
    )


def classify(
    pose: Tensor, ground_truth: Tensor, areas: Tensor, own: int, sigmas: Tensor, flipped: list[int]
) -> Tensor:
    """The kind of each keypoint of a pose that is matched to person ``own`` of an image.

    Args:
        pose: (K, 2), pixels.
        ground_truth: (B, K, 3), x, y, v of the image's persons.
        areas: (B,), square pixels.
        own: index of the matched person.
        sigmas: (K,).
        flipped: (K,), the keypoint of the other side, as ``Skeleton.flip_indices`` has them.

    Returns:
        (K,), indices into :data:`KINDS`; -1 where the person's keypoint is not labeled.
    """

    def similarity(ground_truth: Tensor, sigmas: Tensor) -> Tensor:
        """(B, K): ks of each keypoint; 0 where that of the ground truth is not labeled."""
        points, labeled = ground_truth[..., None, :2], ground_truth[..., None, 2] > 0
        return paired_oks(pose[:, None], points, areas[:, None], sigmas[:, None], labeled)

    same, other = similarity(ground_truth, sigmas), similarity(ground_truth[:, flipped], sigmas[flipped])
    right = same[own]
    middle = torch.tensor([index == k for k, index in enumerate(flipped)])
    inverted = other[own].masked_fill(middle, 0)
    elsewhere = torch.maximum(same, other)
    elsewhere[own] = 0
    swapped = elsewhere.amax(dim=0)
    wrong = torch.where(swapped > inverted, KINDS.index("swap"), KINDS.index("inversion"))
    wrong[torch.maximum(swapped, inverted) < _NEAR] = KINDS.index("miss")
    near = torch.where(right >= _GOOD, KINDS.index("good"), KINDS.index("jitter"))
    kinds = torch.where(right >= _NEAR, near, wrong)
    return kinds.masked_fill(ground_truth[own, :, 2] == 0, -1)


def _judge(
    people: list[dict[str, Any]], results: list[dict[str, Any]], skeleton: Skeleton
) -> list[MatchedPose]:
    """The evaluated poses of one image, in the order of their scores."""
    results = sorted(results, key=lambda result: -result["score"])[:_EVALUATED]
    if not results:
        return []
    sigmas = torch.tensor(skeleton.sigmas, dtype=torch.float64)
    areas = torch.tensor([person["area"] for person in people], dtype=torch.float64)
    ground_truth, poses = (_keypoints(items, skeleton) for items in (people, results))
    similar = oks(poses[..., :2], ground_truth[..., :2], areas, sigmas, ground_truth[..., 2] > 0)  # (A, B)
    free = torch.ones(len(people), dtype=torch.bool)
    judged = []
    for result, pose, row in zip(results, poses, similar, strict=True):
        best = row.max().item() if len(people) else 0.0
        person, kinds, similarity = None, torch.full((skeleton.num_keypoints,), -1), 0.0
        free_row = row.masked_fill(~free, 0)
        if len(people) and free_row.max() >= _MATCHED:
            own = int(free_row.argmax())
            free[own] = False
            person, similarity = people[own], row[own].item()
            kinds = classify(pose[:, :2], ground_truth, areas, own, sigmas, list(skeleton.flip_indices))
        judged.append(MatchedPose(result, person, kinds, similarity, best))
    return judged


def _keypoints(items: list[dict[str, Any]], skeleton: Skeleton) -> Tensor:
    """(n, K, 3)"""
    numbers = torch.tensor([item["keypoints"] for item in items], dtype=torch.float64)
    return numbers.reshape(len(items), skeleton.num_keypoints, 3)


def _corrected(pose: MatchedPose, kind: str) -> dict[str, Any]:
    """The result with its keypoints of one kind moved to the ground truth."""
    if pose.person is None:
        return pose.result
    keypoints = list(pose.result["keypoints"])
    for k in (pose.kinds == KINDS.index(kind)).nonzero()[:, 0].tolist():
        keypoints[3 * k : 3 * k + 2] = pose.person["keypoints"][3 * k : 3 * k + 2]
    return pose.result | {"keypoints": keypoints}
