"""CrowdPose's metrics, over all images and by their crowd index: :class:`CrowdPoseEvaluator`.

They are those of arXiv 1812.00324 and its evaluation code.
"""

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from detectron2.config import CfgNode

from posecore.evaluation.coco import (
    WITHOUT_SIZES,
    Backend,
    COCOArguments,
    COCOPoseEvaluator,
    coco_arguments,
    score,
)
from posecore.structures.boxes import AREA_OF_BOX
from posecore.structures.skeleton import Skeleton

if TYPE_CHECKING:
    from typing_extensions import Unpack

LEVELS = ("easy", "medium", "hard")

# The crowd index at which an image is medium and at which it is hard, in the paper.
BORDERS = (0.1, 0.8)


class CrowdPoseEvaluator(COCOPoseEvaluator):
    """Evaluates the poses of a dataset in CrowdPose's format.

    Args:
        borders: the crowd index at which an image is medium and at which it is hard.
        dataset_name, skeleton, coco: as in :class:`~posecore.evaluation.coco.COCOPoseEvaluator`.

    Raises:
        FileNotFoundError, ValueError: as there, or the borders are not in order.
    """

    def __init__(
        self,
        dataset_name: str,
        skeleton: Skeleton,
        *,
        borders: Sequence[float] = BORDERS,
        **coco: "Unpack[COCOArguments]",
    ) -> None:
        if len(borders) != 2 or not 0 < borders[0] < borders[1] <= 1:
            raise ValueError(f"TEST.CROWD_BORDERS must be two rising numbers in (0, 1], not {tuple(borders)}")
        super().__init__(dataset_name, skeleton, **coco)
        self._borders = tuple(borders)

    @classmethod
    def from_config(
        cls, cfg: CfgNode, dataset_name: str, skeleton: Skeleton, output_dir: str | Path | None
    ) -> "CrowdPoseEvaluator":
        """The evaluator as TEST.TASKS, TEST.COCO_BACKEND and TEST.CROWD_BORDERS ask for it."""
        arguments = coco_arguments(cfg, output_dir)
        return cls(dataset_name, skeleton, borders=cfg.TEST.CROWD_BORDERS, **arguments)

    def keypoints(self, results: list[dict[str, Any]]) -> dict[str, float]:
        """CrowdPose's metrics of poses."""
        return crowdpose_score(self.ground_truth, results, self.skeleton.sigmas, self.backend, self._borders)


def crowdpose_score(
    ground_truth: dict[str, Any],
    results: list[dict[str, Any]],
    sigmas: Sequence[float],
    backend: Backend,
    borders: Sequence[float] = BORDERS,
) -> dict[str, float]:
    """CrowdPose's metrics in percent; they differ from COCO's in three ways.

    The area of a person is 0.53 of the box. A person without a visible keypoint (v = 2) is ignored, although
    hidden keypoints (v = 1) count in the similarity of poses. AP is not split by the size of persons, but
    into easy, medium and hard images.

    Args:
        ground_truth: as :func:`posecore.data.formats.crowdpose.read_crowdpose` returns it.
        results: as :func:`posecore.evaluation.results.coco_results` makes them.
        sigmas: K constants of the keypoints.
        backend: the library that computes the metrics.
        borders: the crowd index at which an image is medium and at which it is hard.

    Returns:
        AP, AP50, AP75, AR, AR50, AR75, AP_easy, AP_medium, AP_hard; NaN for a level without persons.
    """
    people = [
        person
        | {
            "area": AREA_OF_BOX * person["bbox"][2] * person["bbox"][3],
            "num_keypoints": sum(v == 2 for v in person["keypoints"][2::3]),
        }
        for person in ground_truth["annotations"]
    ]
    ground_truth = ground_truth | {"annotations": people}
    found = score(ground_truth, results, "keypoints", sigmas, backend)
    metrics = {name: found[name] for name in WITHOUT_SIZES}
    levels = np.digitize([image["crowdIndex"] for image in ground_truth["images"]], borders)
    for level, name in enumerate(LEVELS):
        ids = {image["id"] for image, own in zip(ground_truth["images"], levels, strict=True) if own == level}
        part = _part(ground_truth, ids)
        found_there = [result for result in results if result["image_id"] in ids]
        has_labels = any(person["num_keypoints"] and not person["iscrowd"] for person in part["annotations"])
        metrics[f"AP_{name}"] = (
            score(part, found_there, "keypoints", sigmas, backend)["AP"] if has_labels else float("nan")
        )
    return metrics


def _part(ground_truth: dict[str, Any], ids: set) -> dict[str, Any]:
    """The images of these ids, and their persons."""
    return ground_truth | {
        "images": [image for image in ground_truth["images"] if image["id"] in ids],
        "annotations": [person for person in ground_truth["annotations"] if person["image_id"] in ids],
    }
