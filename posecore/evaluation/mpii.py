"""MPII's metric PCKh, the share of correct keypoints relative to head size: :class:`MPIIEvaluator`.

It is that of Andriluka et al., CVPR 2014.
"""

import logging
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from detectron2.config import CfgNode
from detectron2.utils.logger import create_small_table

from posecore.data import dataset_metadata
from posecore.data.mat_files import read_mat
from posecore.evaluation.assignment import assign_results, assigned_poses
from posecore.evaluation.pck import share
from posecore.evaluation.results import PoseEvaluator
from posecore.structures.skeleton import Skeleton

logger = logging.getLogger(__name__)

# The columns of MPII's table, and the joints that each is the mean of.
COLUMNS = {
    "Head": ("head_top",),
    "Shoulder": ("left_shoulder", "right_shoulder"),
    "Elbow": ("left_elbow", "right_elbow"),
    "Wrist": ("left_wrist", "right_wrist"),
    "Hip": ("left_hip", "right_hip"),
    "Knee": ("left_knee", "right_knee"),
    "Ankle": ("left_ankle", "right_ankle"),
}
# Joints that do not count in the mean.
UNCOUNTED = ("pelvis", "thorax")

# The size of a head is this share of the diagonal of its box.
_SHARE_OF_DIAGONAL = 0.6
# Distances, in sizes of the head, up to which a joint is correct: for the table, and for a stricter mean.
_THRESHOLD, _STRICT = 0.5, 0.1


@dataclass(frozen=True)
class MPIIGroundTruth:
    """The ground truth of PCKh for N persons, in the order of the annotation file.

    Attributes:
        joints: (N, K, 2), pixels counted from 1.
        present: (N, K), which joints the persons have.
        head_sizes: (N,), pixels.
    """

    joints: np.ndarray
    present: np.ndarray
    head_sizes: np.ndarray


class MPIIEvaluator(PoseEvaluator):
    """Evaluates one pose for each annotated person of a dataset in MPII's format.

    MPII gives the place and size of the persons to be evaluated. A person's pose is the one whose box
    overlaps the person's (:mod:`posecore.data.formats.mpii`) most; each pose belongs to one person at most.
    For top-down methods, which return the boxes they were given, that is the pose made from this very box;
    for all others it is the best overlapping one that they found. Scores do not matter. A person without a
    pose has no correct joint.

    Args:
        dataset_name: registered with its ground truth; without one, results are written but not evaluated.
        skeleton: of the dataset; columns of the table whose joints it lacks are left out.
        output_dir: folder for ``coco_instances_results.json``; None for no file.
        distributed: whether to gather the predictions of all processes; the main one evaluates them.

    Raises:
        FileNotFoundError, ValueError: annotations or ground truth are wrong or do not fit each other.
    """

    def __init__(
        self,
        dataset_name: str,
        skeleton: Skeleton,
        *,
        output_dir: str | Path | None = None,
        distributed: bool = True,
    ) -> None:
        super().__init__(
            dataset_name, skeleton, with_boxes=True, output_dir=output_dir, distributed=distributed
        )
        file = dataset_metadata(dataset_name).get("ground_truth")
        shape = len(self.ground_truth["annotations"]), skeleton.num_keypoints
        self._ground_truth = read_mpii_ground_truth(file, *shape) if file is not None else None

    @classmethod
    def from_config(
        cls, cfg: CfgNode, dataset_name: str, skeleton: Skeleton, output_dir: str | Path | None
    ) -> "MPIIEvaluator":
        """The evaluator with the ground-truth file of the dataset."""
        return cls(dataset_name, skeleton, output_dir=output_dir)

    def metrics(self, results: list[dict[str, Any]]) -> dict[str, dict[str, float]]:
        """{"pckh": the result of :func:`pckh`}; empty without a ground truth."""
        if self._ground_truth is None:
            logger.warning("%s has no ground_truth (mpii_gt_val.mat): the poses are not evaluated", self.name)
            return {}
        assigned = assign_results(self.ground_truth["annotations"], results)
        poses = assigned_poses(assigned, self.skeleton.num_keypoints)
        table = pckh(poses, self._ground_truth, self.skeleton.keypoints)
        logger.info("%s, PCKh:\n%s", self.name, create_small_table(table))
        return {"pckh": table}


def read_mpii_ground_truth(mat_file: str | Path, num_people: int, num_keypoints: int) -> MPIIGroundTruth:
    """Reads MPII's validation ground truth in the form that HRNet and MMPose distribute (mpii_gt_val.mat).

    Args:
        mat_file: with headboxes_src (2, 2, N), two corners of each head's box, jnt_missing (K, N), 1 where a
            joint is absent, and pos_gt_src (K, 2, N), the joints in pixels counted from 1.
        num_people: N.
        num_keypoints: K.

    Raises:
        FileNotFoundError, ValueError: no such file, or another content; the message names the file.
    """
    path = Path(mat_file)
    if not path.is_file():
        raise FileNotFoundError(f"ground truth {path} does not exist")
    shapes = {
        "headboxes_src": (2, 2, num_people),
        "jnt_missing": (num_keypoints, num_people),
        "pos_gt_src": (num_keypoints, 2, num_people),
    }
    content = read_mat(path, list(shapes))
    arrays = {}
    for key, shape in shapes.items():
        if key not in content:
            raise ValueError(f"{path} has no {key}; MPII's ground truth holds {', '.join(shapes)}")
        # MATLAB drops last axes of length 1.
        array = content[key][..., None] if content[key].shape == shape[:-1] else content[key]
        if array.shape != shape:
            raise ValueError(
                f"{path}: {key} is {array.shape} instead of {shape}, "
                f"for the {num_people} persons and {num_keypoints} keypoints of the annotations"
            )
        if not np.issubdtype(array.dtype, np.number) or np.iscomplexobj(array):
            raise ValueError(f"{path}: {key} must be real numbers, not {array.dtype}")
        arrays[key] = array.astype(np.float64)
    sides = arrays["headboxes_src"][1] - arrays["headboxes_src"][0]
    head_sizes = _SHARE_OF_DIAGONAL * np.linalg.norm(sides, axis=0)
    if wrong := np.flatnonzero(~(np.isfinite(head_sizes) & (head_sizes > 0))).tolist():
        raise ValueError(f"{path}: headboxes_src of persons {wrong[:5]} (counted from 0) have no size")
    joints, present = arrays["pos_gt_src"].transpose(2, 0, 1), arrays["jnt_missing"].T == 0
    wrong = np.flatnonzero((present & ~np.isfinite(joints).all(axis=2)).any(axis=1)).tolist()
    if wrong:
        raise ValueError(f"{path}: pos_gt_src of persons {wrong[:5]} must be finite where jnt_missing is 0")
    return MPIIGroundTruth(joints, present, head_sizes)


def pckh(poses: np.ndarray, ground_truth: MPIIGroundTruth, keypoints: Sequence[str]) -> dict[str, float]:
    """MPII's table in percent.

    Args:
        poses: (N, K, 2), pixels counted from 0; infinite where there is no pose.
        ground_truth: of the same N persons.
        keypoints: the K names.

    Returns:
        :data:`COLUMNS` whose joints are among the names, Mean over the present joints but
        :data:`UNCOUNTED`, all at half a head, and "PCKh@0.1", that mean at a tenth; NaN where no person
        has the joint.
    """
    # MPII counts pixels from 1.
    distances = np.linalg.norm(poses + 1 - ground_truth.joints, axis=-1)
    errors = distances / ground_truth.head_sizes[:, None]  # (N, K)
    shares = [share(errors[:, k] <= _THRESHOLD, ground_truth.present[:, k]) for k in range(len(keypoints))]
    by_name = dict(zip(keypoints, shares, strict=True))
    table = {
        column: _mean([by_name[joint] for joint in joints])
        for column, joints in COLUMNS.items()
        if by_name.keys() >= set(joints)
    }
    counted = ground_truth.present & [name not in UNCOUNTED for name in keypoints]
    table["Mean"] = share(errors <= _THRESHOLD, counted)
    table["PCKh@0.1"] = share(errors <= _STRICT, counted)
    return table


def _mean(shares: list[float]) -> float:
    """The mean of the shares that are not NaN."""
    known = [share for share in shares if not np.isnan(share)]
    return float(np.mean(known)) if known else float("nan")
