"""COCO's average precision and recall of poses, and of boxes (https://cocodataset.org/#keypoints-eval)."""

import contextlib
import io
import logging
import warnings
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

import hotcoco
import numpy as np
import pycocotools.coco
import pycocotools.cocoeval
from detectron2.utils.logger import create_small_table

from posecore.evaluation.results import PoseEvaluator
from posecore.structures.skeleton import Skeleton

logger = logging.getLogger(__name__)

# What the numbers of COCO's summary are, in their order; None for those that are not reported.
METRICS: dict[str, tuple[str | None, ...]] = {
    "keypoints": ("AP", "AP50", "AP75", "APm", "APl", "AR", "AR50", "AR75", "ARm", "ARl"),
    "bbox": ("AP", "AP50", "AP75", "APs", "APm", "APl", None, None, "AR", "ARs", "ARm", "ARl"),
}
# Those of poses, but for those by size, which other datasets than COCO do not report.
WITHOUT_SIZES = ("AP", "AP50", "AP75", "AR", "AR50", "AR75")
BACKENDS = ("hotcoco", "pycocotools")


class COCOPoseEvaluator(PoseEvaluator):
    """Scores the poses of a dataset's images, and their boxes on request.

    Persons without labeled keypoints and crowds are neither wanted nor wrong, as COCO has it: a
    prediction that matches one does not count.

    Args:
        dataset_name: registered; without annotations (test-dev) results are written but not scored.
        skeleton: of the dataset; its sigmas define the similarity of poses.
        tasks: what is scored, of "keypoints" and "bbox"; boxes are written only with "bbox".
        backend: "hotcoco" or "pycocotools"; they give the same numbers, hotcoco much sooner.
        output_dir: where ``coco_instances_results.json`` is written; None for nowhere.
        distributed: gather the predictions of all processes; the main one scores them.

    Raises:
        ValueError: unknown task or backend, or annotations that do not fit the skeleton.
    """

    def __init__(
        self,
        dataset_name: str,
        skeleton: Skeleton,
        *,
        tasks: Sequence[str] = ("keypoints",),
        backend: str = "hotcoco",
        output_dir: str | Path | None = None,
        distributed: bool = True,
    ) -> None:
        if not tasks or not set(tasks) <= METRICS.keys():
            raise ValueError(f"TEST.TASKS is {tuple(tasks)}; it can hold {' and '.join(METRICS)}")
        if backend not in BACKENDS:
            raise ValueError(f"TEST.COCO_BACKEND is {backend!r}; it can be {' or '.join(BACKENDS)}")
        super().__init__(
            dataset_name,
            skeleton,
            with_boxes="bbox" in tasks,
            output_dir=output_dir,
            distributed=distributed,
        )
        self.backend = backend
        self._tasks = tuple(tasks)

    def metrics(self, results: list[dict[str, Any]]) -> dict[str, dict[str, float]]:
        """Per task, metrics in percent; NaN where the dataset has nobody that a metric is about."""
        metrics = {}
        for task in self._tasks:
            metrics[task] = self.keypoints(results) if task == "keypoints" else self._score(results, task)
            logger.info("%s, %s (%s):\n%s", self.name, task, self.backend, create_small_table(metrics[task]))
        return metrics

    def keypoints(self, results: list[dict[str, Any]]) -> dict[str, float]:
        """The metrics of poses."""
        return self._score(results, "keypoints")

    def _score(self, results: list[dict[str, Any]], task: str) -> dict[str, float]:
        return score(self.ground_truth, results, task, self.skeleton.sigmas, self.backend)


def score(
    ground_truth: dict[str, Any],
    results: list[dict[str, Any]],
    task: str,
    sigmas: Sequence[float],
    backend: str,
) -> dict[str, float]:
    """COCO's metrics in percent.

    Args:
        ground_truth: as :func:`posecore.data.read_coco` returns it. That it was checked and completed there
            matters: hotcoco takes whatever it is given.
        results: as :func:`posecore.evaluation.results.coco_results` makes them.
        task: a key of :data:`METRICS`.
        sigmas: K constants of the keypoints.
        backend: one of :data:`BACKENDS`.

    Returns:
        By name; zeros for no results at all, NaN where nobody in the ground truth is of the size in question.
    """
    names = METRICS[task]
    if not results:
        return {name: 0.0 for name in names if name}
    # An annotation whose id is 0 looks like no match to COCO's code.
    people = [{**person, "id": index} for index, person in enumerate(ground_truth["annotations"], start=1)]
    if task == "keypoints":
        # With a box COCO's code takes the area of a pose from it, so that APm would depend on it.
        results = [{key: value for key, value in result.items() if key != "bbox"} for result in results]
    summarize = _hotcoco if backend == "hotcoco" else _pycocotools
    with contextlib.redirect_stdout(io.StringIO()):
        stats = summarize({**ground_truth, "annotations": people}, results, task, sigmas)
    return {
        name: 100 * float(value) if value >= 0 else float("nan")
        for name, value in zip(names, stats, strict=True)
        if name
    }


def _hotcoco(ground_truth: dict, results: list[dict], task: str, sigmas: Sequence[float]) -> Iterable[float]:
    coco = hotcoco.COCO(ground_truth)
    evaluation = hotcoco.COCOeval(coco, coco.load_res(results), task)
    with warnings.catch_warnings():
        # It says that other sigmas are not COCO's; another skeleton is what they are for.
        warnings.filterwarnings("ignore", message="hotcoco: kpt_oks_sigmas differ")
        evaluation.params.kpt_oks_sigmas = list(sigmas)
        evaluation.run()
    return evaluation.stats


def _pycocotools(
    ground_truth: dict, results: list[dict], task: str, sigmas: Sequence[float]
) -> Iterable[float]:
    coco = pycocotools.coco.COCO()
    coco.dataset = ground_truth
    coco.createIndex()
    # A copy: loadRes writes into what it is given.
    found = coco.loadRes([dict(result) for result in results])
    evaluation = pycocotools.cocoeval.COCOeval(coco, found, task)
    if task == "keypoints":
        evaluation.params.kpt_oks_sigmas = np.array(sigmas)
    evaluation.evaluate()
    evaluation.accumulate()
    evaluation.summarize()
    return evaluation.stats
