"""The figures of a report on a results file: :func:`run_figures`, and of two runs beside each other.

Every figure is COCO's (OKS, crowds and persons without keypoints ignored, the best 20 poses of an image),
also on datasets whose own benchmark is another one.
"""

from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np

from posecore.evaluation.breakdown import (
    GroupPrecision,
    PCKCurves,
    group_precision,
    is_counted,
    keypoint_precision,
    neighbor_overlaps,
    pck_curves,
)
from posecore.evaluation.errors import KINDS, Errors, MatchedPose, find_errors, match_to_persons
from posecore.evaluation.matches import Calibration, Interval, bootstrap, calibrate, match_poses
from posecore.structures.skeleton import Skeleton

# The distances of the curves of PCK.
DISTANCES = np.linspace(0, 0.5, 51)
# The distance of the PCK that stands beside each keypoint's AP.
PCK_DISTANCE = 0.2


@dataclass(frozen=True)
class FoundPerson:
    """A person of the ground truth that is to be found.

    Attributes:
        annotation: of the person.
        pose: the pose that is matched to the person; None where there is none.
        num_in_image: persons in the image, this one among them; crowds do not count.
        overlap: the greatest IoU of the person's box with another's.
    """

    annotation: dict[str, Any]
    pose: MatchedPose | None
    num_in_image: int
    overlap: float

    @property
    def similarity(self) -> float:
        """OKS of the pose; 0 where the person is missed."""
        return self.pose.similarity if self.pose is not None else 0.0


@dataclass(frozen=True)
class RunFigures:
    """The figures of one results file.

    Attributes:
        name: of the run.
        num_poses: in the file.
        headline: AP, AP50, AP75, APm, APl and AR with their intervals, percent.
        drawn: the drawn values of the intervals, for paired differences.
        keypoint_precision: K, AP of each keypoint, percent.
        groups: as :func:`posecore.evaluation.breakdown.group_precision` returns them.
        curves: PCK.
        errors: kinds of errors and their costs.
        calibration: of the scores; None where they are not in [0, 1].
        persons: all that are to be found, in the order of the annotations.
        unmatched: poses without a match, by falling score.
    """

    name: str
    num_poses: int
    headline: dict[str, Interval]
    drawn: dict[str, np.ndarray]
    keypoint_precision: list[float]
    groups: dict[str, list[GroupPrecision]]
    curves: PCKCurves
    errors: Errors
    calibration: Calibration | None
    persons: list[FoundPerson]
    unmatched: list[MatchedPose]


@dataclass(frozen=True)
class ImageDifference:
    """An image of two runs.

    Attributes:
        image_id: of the image.
        ours: mean OKS of its persons; missed ones count 0.
        theirs: the same of the run that is compared with.
    """

    image_id: int | str
    ours: float
    theirs: float

    @property
    def difference(self) -> float:
        """Above 0 where this run is better."""
        return self.ours - self.theirs


def run_figures(
    ground_truth: dict[str, Any],
    results: list[dict[str, Any]],
    skeleton: Skeleton,
    *,
    name: str,
    draws: int,
    seed: int,
) -> RunFigures:
    """Computes all figures of a run.

    Args:
        ground_truth: as :func:`posecore.data.read_coco` returns it.
        results: poses on it, at least one.
        skeleton: of K keypoints.
        name: of the run.
        draws: resamples of the bootstrap intervals.
        seed: of the resamples.
    """
    matches = match_poses(ground_truth, results, skeleton.sigmas)
    intervals, drawn = bootstrap(matches, draws, seed)
    poses = match_to_persons(ground_truth, results, skeleton)
    pose_of = {pose.person["id"]: pose for pose in poses if pose.person is not None}
    annotations = ground_truth["annotations"]
    in_image: dict[Any, int] = defaultdict(int)
    for person in annotations:
        in_image[person["image_id"]] += not person["iscrowd"]
    overlaps = neighbor_overlaps(annotations)
    persons = [
        FoundPerson(person, pose_of.get(person["id"]), in_image[person["image_id"]], overlaps[person["id"]])
        for person in annotations
        if is_counted(person)
    ]
    points = np.full((len(persons), skeleton.num_keypoints, 2), np.inf)
    for row, person in zip(points, persons, strict=True):
        if person.pose is not None:
            row[:] = np.reshape(person.pose.result["keypoints"], (-1, 3))[:, :2]
    unmatched = [pose for pose in poses if pose.person is None]
    return RunFigures(
        name=name,
        num_poses=len(results),
        headline=intervals,
        drawn=drawn,
        keypoint_precision=keypoint_precision(ground_truth, results, skeleton),
        groups=group_precision(ground_truth, results, skeleton),
        curves=pck_curves([person.annotation for person in persons], points, skeleton, DISTANCES),
        errors=find_errors(ground_truth, results, skeleton),
        calibration=calibrate(matches[""]),
        persons=persons,
        unmatched=sorted(unmatched, key=lambda pose: -pose.result["score"]),
    )


def image_differences(ours: RunFigures, theirs: RunFigures) -> list[ImageDifference]:
    """The images with persons by the size of their differences, the greatest first."""
    similar: dict[Any, tuple[list[float], list[float]]] = defaultdict(lambda: ([], []))
    for own, other in zip(ours.persons, theirs.persons, strict=True):
        pair = similar[own.annotation["image_id"]]
        pair[0].append(own.similarity)
        pair[1].append(other.similarity)
    images = [
        ImageDifference(image_id, float(np.mean(own)), float(np.mean(other)))
        for image_id, (own, other) in similar.items()
    ]
    return sorted(images, key=lambda image: -abs(image.difference))


def as_json(
    run: RunFigures,
    skeleton: Skeleton,
    other: RunFigures | None = None,
    differences: Mapping[str, Interval] | None = None,
) -> dict[str, Any]:
    """The figures as plain values, for ``report.json``."""
    content: dict[str, Any] = {"run": _run_as_json(run, skeleton)}
    if other is not None:
        content["against"] = _run_as_json(other, skeleton)
        content["differences"] = {
            "headline": {name: asdict(value) for name, value in (differences or {}).items()},
            "images": [
                {
                    "image_id": image.image_id,
                    "run": image.ours,
                    "against": image.theirs,
                    "difference": image.difference,
                }
                for image in image_differences(run, other)
            ],
        }
    return content


def _run_as_json(run: RunFigures, skeleton: Skeleton) -> dict[str, Any]:
    calibration = None
    if run.calibration is not None:
        calibration = {
            "expected_calibration_error": run.calibration.error,
            "edges": run.calibration.edges,
            "counts": run.calibration.counts,
            "mean_scores": run.calibration.confidence,
            "shares_of_correct_poses": run.calibration.accuracy,
        }
    pck = {name: run.curves.keypoints[:, k] for k, name in enumerate(skeleton.keypoints)}
    return {
        "name": run.name,
        "num_poses": run.num_poses,
        "headline": {name: asdict(interval) for name, interval in run.headline.items()},
        "keypoints": {
            name: {
                "AP": run.keypoint_precision[k],
                **{kind: int(run.errors.keypoints[kind][k]) for kind in KINDS},
            }
            for k, name in enumerate(skeleton.keypoints)
        },
        "groups": {by: [asdict(group) for group in groups] for by, groups in run.groups.items()},
        "pck": {
            "normalizer": run.curves.normalizer,
            "num_persons": run.curves.num_persons,
            "distances": run.curves.distances,
            "mean": run.curves.mean,
            "keypoints": pck,
        },
        "errors": {
            "costs_in_AP": run.errors.gains,
            "unmatched_poses": run.errors.num_background,
            "missed_persons": run.errors.num_missed,
        },
        "calibration": calibration,
        "persons": [
            {
                "annotation_id": person.annotation["id"],
                "image_id": person.annotation["image_id"],
                "oks": person.similarity,
                "score": person.pose.result["score"] if person.pose is not None else None,
            }
            for person in run.persons
        ],
    }


def spread_choice(values: Sequence[float], count: int) -> list[int]:
    """Indices of at most ``count`` values: half of them the least ones, the rest evenly over all others."""
    order = np.argsort(values, kind="stable")
    if len(order) <= count:
        return order.tolist()
    worst = order[: count // 2]
    rest = order[count // 2 :]
    places = np.linspace(0, len(rest) - 1, count - len(worst)).round().astype(int)
    return [*worst.tolist(), *rest[places].tolist()]
