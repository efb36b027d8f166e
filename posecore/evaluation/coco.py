"""COCO's metrics, average precision and recall of poses and boxes: :class:`COCOPoseEvaluator`.

They are defined at https://cocodataset.org/#keypoints-eval.
"""

import contextlib
import io
import logging
import warnings
from collections.abc import Callable, Iterable, Sequence
from pathlib import Path
from typing import Any, Literal, TypedDict

import hotcoco
import numpy as np
import pycocotools.coco
import pycocotools.cocoeval
from detectron2.config import CfgNode
from detectron2.utils.logger import create_small_table

from posecore.config.options import choice, choices
from posecore.evaluation.results import PoseEvaluator
from posecore.structures.skeleton import Skeleton

logger = logging.getLogger(__name__)

# What is evaluated: poses, or their boxes.
Task = Literal["keypoints", "bbox"]
# The library that computes the metrics. Both give the same numbers, hotcoco about 40 times faster.
Backend = Literal["hotcoco", "pycocotools"]

# The options of TEST.TASKS and TEST.COCO_BACKEND.
TASKS: dict[str, Task] = {"keypoints": "keypoints", "bbox": "bbox"}
BACKENDS: dict[str, Backend] = {"hotcoco": "hotcoco", "pycocotools": "pycocotools"}

# The names of the numbers in COCO's summary, in their order; None for those that are not reported.
METRICS: dict[Task, tuple[str | None, ...]] = {
    "keypoints": ("AP", "AP50", "AP75", "APm", "APl", "AR", "AR50", "AR75", "ARm", "ARl"),
    "bbox": ("AP", "AP50", "AP75", "APs", "APm", "APl", None, None, "AR", "ARs", "ARm", "ARl"),
}
# The sizes that metrics are split by: last letter of a name -> least and greatest area, square pixels.
AREAS = {"s": (0, 32**2), "m": (32**2, 96**2), "l": (96**2, 1e10), "": (0, 1e10)}
# The metrics of poses without those by size, which datasets other than COCO do not report.
WITHOUT_SIZES = ("AP", "AP50", "AP75", "AR", "AR50", "AR75")


# What is evaluated of a person, besides ids.
_EVALUATED = ("bbox", "keypoints", "iscrowd", "area", "num_keypoints")


class COCOArguments(TypedDict, total=False):
    """The arguments that the evaluators of COCO's kind share, as :class:`COCOPoseEvaluator` has them."""

    tasks: Sequence[Task]
    backend: Backend
    output_dir: str | Path | None
    distributed: bool


class COCOPoseEvaluator(PoseEvaluator):
    """Evaluates the poses of a dataset's images, and their boxes on request.

    Persons without labeled keypoints and crowds are ignored, as COCO defines it: they need not be found, and
    a prediction that matches one does not count.

    Args:
        dataset_name, output_dir, distributed: as in :class:`~posecore.evaluation.results.PoseEvaluator`.
        skeleton: of the dataset; its sigmas define the similarity of poses.
        tasks: what is evaluated, at least one.
        backend: the library that computes the metrics.
        with_boxes: whether boxes are collected and written also without the task "bbox".

    Raises:
        FileNotFoundError, ValueError: as there.
    """

    def __init__(
        self,
        dataset_name: str,
        skeleton: Skeleton,
        *,
        tasks: Sequence[Task] = ("keypoints",),
        backend: Backend = "hotcoco",
        with_boxes: bool = False,
        output_dir: str | Path | None = None,
        distributed: bool = True,
    ) -> None:
        super().__init__(
            dataset_name,
            skeleton,
            with_boxes=with_boxes or "bbox" in tasks,
            output_dir=output_dir,
            distributed=distributed,
        )
        self.backend = backend
        self._tasks = tuple(tasks)

    @classmethod
    def from_config(
        cls, cfg: CfgNode, dataset_name: str, skeleton: Skeleton, output_dir: str | Path | None
    ) -> "COCOPoseEvaluator":
        """The evaluator as TEST.TASKS and TEST.COCO_BACKEND ask for it."""
        return cls(dataset_name, skeleton, **coco_arguments(cfg, output_dir))

    def metrics(self, results: list[dict[str, Any]]) -> dict[str, dict[str, float]]:
        """The metrics in percent: task -> name -> value, NaN where the dataset has no person of a size."""
        metrics: dict[str, dict[str, float]] = {}
        for task in self._tasks:
            metrics[task] = self.keypoints(results) if task == "keypoints" else self._score(results, task)
            logger.info("%s, %s (%s):\n%s", self.name, task, self.backend, create_small_table(metrics[task]))
        return metrics

    def keypoints(self, results: list[dict[str, Any]]) -> dict[str, float]:
        """The metrics of poses."""
        return self._score(results, "keypoints")

    def _score(self, results: list[dict[str, Any]], task: Task) -> dict[str, float]:
        return score(self.ground_truth, results, task, self.skeleton.sigmas, self.backend)


def coco_arguments(cfg: CfgNode, output_dir: str | Path | None) -> COCOArguments:
    """The arguments of an evaluator as TEST.TASKS and TEST.COCO_BACKEND have them."""
    return {
        "tasks": choices(cfg, "TEST.TASKS", TASKS),
        "backend": choice(cfg, "TEST.COCO_BACKEND", BACKENDS),
        "output_dir": output_dir,
    }


def score(
    ground_truth: dict[str, Any],
    results: list[dict[str, Any]],
    task: Task,
    sigmas: Sequence[float],
    backend: Backend,
) -> dict[str, float]:
    """COCO's metrics in percent.

    Args:
        ground_truth: as :func:`posecore.data.read_coco` returns it, checked and completed: hotcoco does not
            check its input.
        results: as :func:`posecore.evaluation.results.coco_results` makes them; of its images.
        task: what is evaluated.
        sigmas: K constants of the keypoints.
        backend: the library that computes the metrics.

    Returns:
        name -> value; NaN where the ground truth has no person of the size.
    """
    names = METRICS[task]
    if not results:
        return _nothing_found(ground_truth, task)
    plain, results = with_plain_ids(ground_truth, results)
    if task == "keypoints":
        # Where a result has a box, COCO's code takes the pose's area from it, and APm would depend on it.
        results = [{key: value for key, value in result.items() if key != "bbox"} for result in results]
    with contextlib.redirect_stdout(io.StringIO()):
        stats = _SUMMARIES[backend](plain, results, task, sigmas)
    return {
        name: 100 * float(value) if value >= 0 else float("nan")
        for name, value in zip(names, stats, strict=True)
        if name
    }


def with_plain_ids(ground_truth: dict[str, Any], results: list[dict[str, Any]]) -> tuple[dict, list[dict]]:
    """Ground truth and results with what is evaluated alone, and ids that every library takes, from 1.

    The ids of a dataset may be text, negative, or too great for a library; COCO's code takes an annotation of
    id 0 for "no match". hotcoco also reads fields that the metrics do not need, such as segmentations. The
    order of the images stays that of their ids, so that ties are broken alike.
    """
    numbers = {
        key: i for i, key in enumerate(sorted(image["id"] for image in ground_truth["images"]), start=1)
    }
    images = [
        {"id": numbers[image["id"]], "height": image["height"], "width": image["width"]}
        for image in ground_truth["images"]
    ]
    people = [
        {key: person[key] for key in _EVALUATED}
        | {"id": index, "image_id": numbers[person["image_id"]], "category_id": 1}
        for index, person in enumerate(ground_truth["annotations"], start=1)
    ]
    numbered = {"images": images, "annotations": people, "categories": [{"id": 1, "name": "person"}]}
    own = [{**result, "image_id": numbers[result["image_id"]], "category_id": 1} for result in results]
    return numbered, own


def _nothing_found(ground_truth: dict[str, Any], task: Task) -> dict[str, float]:
    """The metrics without any result: 0, or NaN for sizes of which the ground truth has no person."""
    counted = [
        person["area"]
        for person in ground_truth["annotations"]
        if not person["iscrowd"] and (task == "bbox" or person["num_keypoints"])
    ]
    metrics = {}
    for name in filter(None, METRICS[task]):
        low, high = AREAS.get(name[-1], AREAS[""])
        metrics[name] = 0.0 if any(low <= area <= high for area in counted) else float("nan")
    return metrics


def _hotcoco(ground_truth: dict, results: list[dict], task: Task, sigmas: Sequence[float]) -> Iterable[float]:
    coco = hotcoco.COCO(ground_truth)
    evaluation = hotcoco.COCOeval(coco, coco.load_res(results), task)
    with warnings.catch_warnings():
        # hotcoco warns of sigmas other than COCO's, which other skeletons need.
        warnings.filterwarnings("ignore", message="hotcoco: kpt_oks_sigmas differ")
        evaluation.params.kpt_oks_sigmas = list(sigmas)
        evaluation.run()
    return evaluation.stats


def _pycocotools(
    ground_truth: dict, results: list[dict], task: Task, sigmas: Sequence[float]
) -> Iterable[float]:
    coco = pycocotools.coco.COCO()
    coco.dataset = ground_truth
    coco.createIndex()
    # Copies, because loadRes modifies its input.
    found = coco.loadRes([dict(result) for result in results])
    evaluation = pycocotools.cocoeval.COCOeval(coco, found, task)
    if task == "keypoints":
        evaluation.params.kpt_oks_sigmas = np.array(sigmas)
    evaluation.evaluate()
    evaluation.accumulate()
    evaluation.summarize()
    return evaluation.stats


_SUMMARIES: dict[Backend, Callable[[dict, list[dict], Task, Sequence[float]], Iterable[float]]] = {
    "hotcoco": _hotcoco,
    "pycocotools": _pycocotools,
}
