"""COCO-WholeBody's metrics, of all 133 keypoints and of each part: :class:`WholeBodyEvaluator`.

They are those of arXiv 2007.11858.
"""

from collections.abc import Sequence
from typing import Any

from posecore.data.formats.coco_wholebody import PART_SLICES, split_parts
from posecore.evaluation.coco import WITHOUT_SIZES, Backend, COCOPoseEvaluator, score

# The names of the parts in metrics -> their keys in annotation files.
PARTS = {
    "body": "keypoints",
    "feet": "foot_kpts",
    "face": "face_kpts",
    "left_hand": "lefthand_kpts",
    "right_hand": "righthand_kpts",
}


class WholeBodyEvaluator(COCOPoseEvaluator):
    """Evaluates the poses of a dataset in COCO-WholeBody's format.

    Arguments are those of :class:`~posecore.evaluation.coco.COCOPoseEvaluator`. Written results hold each
    part under its own key, as COCO-WholeBody's tools read them.
    """

    def keypoints(self, results: list[dict[str, Any]]) -> dict[str, float]:
        """The metrics of whole bodies and of each part."""
        return wholebody_score(self.ground_truth, results, self.skeleton.sigmas, self.backend)

    def written(self, result: dict[str, Any]) -> dict[str, Any]:
        """The result with each part under its own key."""
        return result | split_parts(result["keypoints"])


def wholebody_score(
    ground_truth: dict[str, Any], results: list[dict[str, Any]], sigmas: Sequence[float], backend: Backend
) -> dict[str, float]:
    """COCO's metrics of whole bodies without those by size, then AP and AR of each part, in percent.

    A part is evaluated as if it were the pose: with its own sigmas, the area of the whole person and the
    score of the whole pose; persons whose part is not labeled are ignored. "hands" is the mean of the left
    and the right hand.

    Args:
        ground_truth: as :func:`posecore.data.formats.coco_wholebody.read_wholebody` returns it.
        results: as :func:`posecore.evaluation.results.coco_results` makes them, of 133 keypoints.
        sigmas: 133 constants of the keypoints.
        backend: the library that computes the metrics.

    Returns:
        AP, AP50, AP75, AR, AR50, AR75; AP_body, AR_body, AP_feet, ..., AP_hands, AR_hands; NaN for a part
        that no person has.
    """
    found = score(ground_truth, results, "keypoints", sigmas, backend)
    metrics = {name: found[name] for name in WITHOUT_SIZES}
    for name, key in PARTS.items():
        part = PART_SLICES[key]
        people = [_cut(person, part) for person in ground_truth["annotations"]]
        for person in people:
            person["num_keypoints"] = sum(v > 0 for v in person["keypoints"][2::3])
        found = score(
            ground_truth | {"annotations": people},
            [_cut(result, part) for result in results],
            "keypoints",
            sigmas[part],
            backend,
        )
        metrics |= {f"AP_{name}": found["AP"], f"AR_{name}": found["AR"]}
    for kind in ("AP", "AR"):
        metrics[f"{kind}_hands"] = (metrics[f"{kind}_left_hand"] + metrics[f"{kind}_right_hand"]) / 2
    return metrics


def _cut(item: dict[str, Any], part: slice) -> dict[str, Any]:
    """A person or a result with the keypoints of one part."""
    return item | {"keypoints": item["keypoints"][3 * part.start : 3 * part.stop]}
