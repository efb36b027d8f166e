"""PCK, the share of keypoints within 0.2 of the torso's length, beside COCO's metrics: :class:`PCKEvaluator`.

PCK is that of Yang and Ramanan (TPAMI 2013); lengths of the torso are usual for Leeds Sports Pose.
"""

import logging
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from posecore.evaluation.assignment import assign_results, assigned_poses
from posecore.evaluation.coco import COCOArguments, COCOPoseEvaluator
from posecore.structures.skeleton import Skeleton

if TYPE_CHECKING:
    from typing_extensions import Unpack

logger = logging.getLogger(__name__)

# The length of a torso is that of the longer of these lines, among those whose two ends are labeled.
TORSO = (("left_shoulder", "right_hip"), ("right_shoulder", "left_hip"))
# The distance, in lengths of the torso, up to which a keypoint is correct, and the name of the mean.
_THRESHOLD, MEAN = 0.2, "PCK@0.2"
# What the name of the mean ends in where each person's left and right are read in the better way. Names of
# means differ from each other, because tables of runs know a metric by the last part of its name.
BETTER_SIDES = "_better_sides"


@dataclass(frozen=True)
class PCKGroundTruth:
    """The ground truth of PCK for N persons.

    Attributes:
        keypoints: (N, K, 2), pixels counted from 0.
        labeled: (N, K), which keypoints are labeled.
        torsos: (N,), the lengths of the torsos in pixels; 0 where neither line is labeled.
    """

    keypoints: np.ndarray
    labeled: np.ndarray
    torsos: np.ndarray


class PCKEvaluator(COCOPoseEvaluator):
    """Evaluates one pose for each labeled person by PCK, and all poses by COCO's metrics.

    A person's pose is the one whose box overlaps the person's most, whatever its score
    (:mod:`posecore.evaluation.assignment`), so that a model that finds everybody can be measured where only
    one person of an image is labeled. In COCO's metrics all other poses are false positives, also those of
    persons who are in the image and not labeled; "AP_assigned" is the AP without them.

    Args:
        dataset_name, coco: as in :class:`~posecore.evaluation.coco.COCOPoseEvaluator`; boxes are always
            written.
        skeleton: of the dataset, with the keypoints of :data:`TORSO`.

    Raises:
        FileNotFoundError, ValueError: as there, or the skeleton has no torso.
    """

    def __init__(self, dataset_name: str, skeleton: Skeleton, **coco: "Unpack[COCOArguments]") -> None:
        super().__init__(dataset_name, skeleton, with_boxes=True, **coco)
        try:
            torso_indices(skeleton)
        except ValueError as error:
            raise ValueError(f"dataset '{dataset_name}' of format 'pck': {error}") from error

    def metrics(self, results: list[dict[str, Any]]) -> dict[str, dict[str, float]]:
        """The tasks of :func:`pck`, then those of COCO's metrics."""
        people = self._people()
        ground_truth = pck_ground_truth(people, self.skeleton)
        without = int((ground_truth.torsos == 0).sum())
        logger.info(
            "%s, PCK: each labeled person's pose is the one whose box overlaps the person's most; %d of %d "
            "persons are left out, because no shoulder is labeled together with the hip of the other side",
            self.name,
            without,
            len(people),
        )
        poses = assigned_poses(assign_results(people, results), self.skeleton.num_keypoints)
        tables = pck(poses, ground_truth, self.skeleton)
        as_labeled, better_sides = tables.values()
        rows = [f"{'percent':16}  as labeled  better sides"]
        for name, share_labeled, share_better in zip(
            as_labeled, as_labeled.values(), better_sides.values(), strict=True
        ):
            rows.append(f"{name:16}  {share_labeled:10.2f}  {share_better:12.2f}")
        logger.info("%s, PCK:\n%s", self.name, "\n".join(rows))
        return tables | super().metrics(results)

    def keypoints(self, results: list[dict[str, Any]]) -> dict[str, float]:
        """COCO's metrics of all poses, and "AP_assigned", the AP of the poses assigned to labeled persons."""
        assigned = [result for result in assign_results(self._people(), results) if result is not None]
        return super().keypoints(results) | {"AP_assigned": super().keypoints(assigned)["AP"]}

    def _people(self) -> list[dict[str, Any]]:
        """The labeled persons; crowds are none."""
        return [person for person in self.ground_truth["annotations"] if not person["iscrowd"]]


def has_torso(skeleton: Skeleton) -> bool:
    """Whether the skeleton has the keypoints of :data:`TORSO`."""
    return {name for line in TORSO for name in line} <= set(skeleton.keypoints)


def torso_indices(skeleton: Skeleton) -> np.ndarray:
    """(2, 2): the indices of the keypoints of :data:`TORSO`.

    Raises:
        ValueError: the skeleton lacks one of them.
    """
    if missing := [name for line in TORSO for name in line if name not in skeleton.keypoints]:
        raise ValueError(
            f"skeleton '{skeleton.name}' lacks {', '.join(missing)}: PCK is measured in lengths of the "
            "torso, from each shoulder to the other side's hip"
        )
    return np.array([[skeleton.keypoints.index(name) for name in line] for line in TORSO])


def pck_ground_truth(people: Sequence[dict[str, Any]], skeleton: Skeleton) -> PCKGroundTruth:
    """The ground truth of N persons.

    Args:
        people: annotations with keypoints (3K numbers).
        skeleton: of K keypoints.

    Raises:
        ValueError: the skeleton has no torso.
    """
    torso = torso_indices(skeleton)
    numbers = np.array([person["keypoints"] for person in people], dtype=np.float64)
    numbers = numbers.reshape(len(people), skeleton.num_keypoints, 3)
    keypoints, labeled = numbers[..., :2], numbers[..., 2] > 0
    lines = np.linalg.norm(keypoints[:, torso[:, 0]] - keypoints[:, torso[:, 1]], axis=-1)  # (N, 2)
    lines[~labeled[:, torso].all(axis=-1)] = 0
    return PCKGroundTruth(keypoints, labeled, lines.max(axis=1))


def pck(poses: np.ndarray, ground_truth: PCKGroundTruth, skeleton: Skeleton) -> dict[str, dict[str, float]]:
    """PCK in percent, with left and right as labeled, and in the better reading of each person.

    The better reading swaps all pairs of the skeleton's flip_pairs in a pose where more of the person's
    keypoints are then correct. It takes labels in which left and right are swapped for right, and also
    poses in which they are. Persons whose torso has no length are left out.

    Args:
        poses: (N, K, 2), pixels counted from 0; infinite where there is no pose.
        ground_truth: of the same N persons.
        skeleton: of K keypoints.

    Returns:
        "pck" and "pck_better_sides": each the mean over all labeled keypoints, then every keypoint by its
        name in the skeleton; NaN where nobody has the keypoint.
    """
    counted = ground_truth.labeled & (ground_truth.torsos > 0)[:, None]
    tolerances = _THRESHOLD * ground_truth.torsos[:, None]
    as_labeled, swapped = (
        (np.linalg.norm(reading - ground_truth.keypoints, axis=-1) <= tolerances) & counted
        for reading in (poses, poses[:, list(skeleton.flip_indices)])
    )
    swap = swapped.sum(axis=1) > as_labeled.sum(axis=1)
    better = np.where(swap[:, None], swapped, as_labeled)
    return {
        f"pck{ending}": {MEAN + ending: share(correct, counted)}
        | {name: share(correct[:, k], counted[:, k]) for k, name in enumerate(skeleton.keypoints)}
        for ending, correct in (("", as_labeled), (BETTER_SIDES, better))
    }


def share(correct: np.ndarray, counted: np.ndarray) -> float:
    """The share of correct keypoints among the counted ones, in percent; NaN where none is counted.

    Args:
        correct: bool of any shape.
        counted: bool of the same shape.
    """
    return 100 * float(correct[counted].mean()) if counted.any() else float("nan")
