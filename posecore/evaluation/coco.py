"""COCO's average precision and recall of poses, and of boxes (https://cocodataset.org/#keypoints-eval)."""

import contextlib
import io
import itertools
import json
import logging
import warnings
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

import hotcoco
import numpy as np
import pycocotools.coco
import pycocotools.cocoeval
import torch
from detectron2.evaluation import DatasetEvaluator
from detectron2.structures import Instances
from detectron2.utils import comm
from detectron2.utils.logger import create_small_table

from posecore.data import dataset_metadata, read_coco
from posecore.keypoints import Skeleton

logger = logging.getLogger(__name__)

# What the numbers of COCO's summary are, in their order; None for those that are not reported.
METRICS: dict[str, tuple[str | None, ...]] = {
    "keypoints": ("AP", "AP50", "AP75", "APm", "APl", "AR", "AR50", "AR75", "ARm", "ARl"),
    "bbox": ("AP", "AP50", "AP75", "APs", "APm", "APl", None, None, "AR", "ARs", "ARm", "ARl"),
}
BACKENDS = ("hotcoco", "pycocotools")

# Test sets come without categories that could be asked; COCO's persons have this one.
_PERSON = 1


class COCOPoseEvaluator(DatasetEvaluator):
    """Collects the poses of a dataset's pictures, writes them as COCO's servers take them, and scores them.

    Persons without labelled keypoints and crowds are neither wanted nor wrong, as COCO has it: a
    prediction that matches one does not count.

    Args:
        dataset_name: registered, with a json_file in COCO's format; without annotations (test-dev)
            results are written but not scored.
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
        self._name = dataset_name
        self._skeleton = skeleton
        self._tasks = tuple(tasks)
        self._backend = backend
        self._output_dir = Path(output_dir) if output_dir else None
        self._distributed = distributed
        self._truth = read_coco(dataset_metadata(dataset_name).json_file, skeleton)
        categories = self._truth.get("categories")
        self._category = categories[0]["id"] if categories else _PERSON
        self._results: list[dict[str, Any]] = []

    def reset(self) -> None:
        self._results = []

    def process(self, inputs: Iterable[dict[str, Any]], outputs: Iterable[dict[str, Instances]]) -> None:
        """Takes over the predictions for some pictures; neither argument is modified.

        Args:
            inputs: what the model was given, each with its ``image_id``.
            outputs: what it returned, each with ``instances`` (scores, pred_keypoints (M, K, 3), and
                pred_boxes where boxes are scored) in the original picture's continuous pixels.

        Raises:
            ValueError: a prediction is not finite or has another number of keypoints; names the picture.
        """
        for picture, output in zip(inputs, outputs, strict=True):
            try:
                results = coco_results(
                    output["instances"],
                    self._skeleton.num_keypoints,
                    image_id=picture["image_id"],
                    category_id=self._category,
                    with_boxes="bbox" in self._tasks,
                )
            except ValueError as error:
                where = picture.get("file_name", f"image {picture['image_id']}")
                raise ValueError(f"{where}: {error}") from error
            self._results.extend(results)

    def evaluate(self) -> dict[str, dict[str, float]]:
        """Per task, metrics in percent; NaN where the dataset has nobody that a metric is about.

        Empty where the dataset has no annotations, and in all processes but the main one.
        """
        results = self._results
        if self._distributed:
            results = list(itertools.chain.from_iterable(comm.gather(results)))
            if not comm.is_main_process():
                return {}
        if self._output_dir is not None:
            self._output_dir.mkdir(parents=True, exist_ok=True)
            file = self._output_dir / "coco_instances_results.json"
            file.write_text(json.dumps(results))
            logger.info("%s: %d poses written to %s", self._name, len(results), file)
        if "annotations" not in self._truth:
            logger.warning("%s has no annotations: nothing is scored", self._name)
            return {}
        if not results:
            logger.warning("%s: nothing was found in any picture", self._name)
        metrics = {}
        for task in self._tasks:
            metrics[task] = score(self._truth, results, task, self._skeleton.sigmas, self._backend)
            logger.info(
                "%s, %s (%s):\n%s", self._name, task, self._backend, create_small_table(metrics[task])
            )
        return metrics


def coco_results(
    instances: Instances, num_keypoints: int, *, image_id: int, category_id: int, with_boxes: bool = False
) -> list[dict[str, Any]]:
    """One picture's poses in COCO's format, where the centre of the first pixel is at 0 instead of 0.5.

    Args:
        instances: M of them with scores and pred_keypoints (M, K, 3), pred_boxes if ``with_boxes``.

    Returns:
        M dicts of image_id, category_id, score, keypoints (3K numbers), and bbox (x, y, width, height).

    Raises:
        ValueError: a number is infinite or NaN, or K is not ``num_keypoints``.
    """
    if len(instances) == 0:
        return []
    columns = {"score": instances.scores, "keypoints": instances.pred_keypoints}
    if with_boxes:
        columns["bbox"] = instances.pred_boxes.tensor
    for name, values in columns.items():
        if not values.isfinite().all():
            raise ValueError(f"a predicted {name} is not finite")
    shape = tuple(instances.pred_keypoints.shape[1:])
    if shape != (num_keypoints, 3):
        raise ValueError(f"predicted poses have shape {shape}, the skeleton has {num_keypoints} keypoints")
    columns = {name: values.double().cpu() for name, values in columns.items()}
    columns["keypoints"] = (columns["keypoints"] - torch.tensor([0.5, 0.5, 0.0])).flatten(1)
    if with_boxes:
        corners = columns["bbox"]
        columns["bbox"] = torch.cat([corners[:, :2], corners[:, 2:] - corners[:, :2]], dim=1)
    rows = zip(*(column.tolist() for column in columns.values()), strict=True)
    same = {"image_id": image_id, "category_id": category_id}
    return [same | dict(zip(columns, row, strict=True)) for row in rows]


def score(
    truth: dict[str, Any], results: list[dict[str, Any]], task: str, sigmas: Sequence[float], backend: str
) -> dict[str, float]:
    """COCO's metrics in percent.

    Args:
        truth: as :func:`posecore.data.read_coco` returns it. That it was checked and completed there
            matters: hotcoco takes whatever it is given.
        results: as :func:`coco_results` makes them.
        task: a key of :data:`METRICS`.
        sigmas: K constants of the keypoints.
        backend: one of :data:`BACKENDS`.

    Returns:
        By name; zeros for no results at all, NaN where nobody in the truth is of the size in question.
    """
    names = METRICS[task]
    if not results:
        return {name: 0.0 for name in names if name}
    # An annotation whose id is 0 looks like no match to COCO's code.
    people = [{**person, "id": index} for index, person in enumerate(truth["annotations"], start=1)]
    if task == "keypoints":
        # With a box COCO's code takes the area of a pose from it, so that APm would depend on it.
        results = [{key: value for key, value in result.items() if key != "bbox"} for result in results]
    summarize = _hotcoco if backend == "hotcoco" else _pycocotools
    with contextlib.redirect_stdout(io.StringIO()):
        stats = summarize({**truth, "annotations": people}, results, task, sigmas)
    return {
        name: 100 * float(value) if value >= 0 else float("nan")
        for name, value in zip(names, stats, strict=True)
        if name
    }


def _hotcoco(truth: dict, results: list[dict], task: str, sigmas: Sequence[float]) -> Iterable[float]:
    coco = hotcoco.COCO(truth)
    evaluation = hotcoco.COCOeval(coco, coco.load_res(results), task)
    with warnings.catch_warnings():
        # It says that other sigmas are not COCO's; another skeleton is what they are for.
        warnings.filterwarnings("ignore", message="hotcoco: kpt_oks_sigmas differ")
        evaluation.params.kpt_oks_sigmas = list(sigmas)
        evaluation.run()
    return evaluation.stats


def _pycocotools(truth: dict, results: list[dict], task: str, sigmas: Sequence[float]) -> Iterable[float]:
    coco = pycocotools.coco.COCO()
    coco.dataset = truth
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
