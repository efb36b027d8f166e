"""The base of all evaluators, :class:`PoseEvaluator`, which collects and writes the poses of a dataset."""

import itertools
import json
import logging
from abc import abstractmethod
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import torch
from detectron2.config import CfgNode
from detectron2.evaluation import DatasetEvaluator
from detectron2.structures import Instances
from detectron2.utils import comm

from posecore.data import read_dataset
from posecore.structures.skeleton import Skeleton

logger = logging.getLogger(__name__)

# The category of persons in COCO, for test sets, whose files have no categories.
_PERSON = 1


class PoseEvaluator(DatasetEvaluator):
    """Collects the poses of a dataset's images in all processes; subclasses compute their :meth:`metrics`.

    Args:
        dataset_name: registered; without annotations (test-dev) results are written but not evaluated.
        skeleton: of the dataset.
        with_boxes: whether results hold the boxes of the poses as well.
        output_dir: folder for ``coco_instances_results.json``; None for no file.
        distributed: whether to gather the predictions of all processes; the main one evaluates them.

    Attributes:
        ground_truth: as :func:`posecore.data.read_coco` returns it.

    Raises:
        FileNotFoundError, ValueError: the annotations are wrong or do not fit the skeleton.
    """

    def __init__(
        self,
        dataset_name: str,
        skeleton: Skeleton,
        *,
        with_boxes: bool,
        output_dir: str | Path | None = None,
        distributed: bool = True,
    ) -> None:
        self.name = dataset_name
        self.skeleton = skeleton
        self.ground_truth = read_dataset(dataset_name, skeleton)
        categories = self.ground_truth.get("categories")
        self._category = categories[0]["id"] if categories else _PERSON
        self._with_boxes = with_boxes
        self._output_dir = Path(output_dir) if output_dir else None
        self._distributed = distributed
        self._results: list[dict[str, Any]] = []

    @classmethod
    @abstractmethod
    def from_config(
        cls, cfg: CfgNode, dataset_name: str, skeleton: Skeleton, output_dir: str | Path | None
    ) -> "PoseEvaluator":
        """The evaluator as the keys of TEST ask for it; the other arguments are the constructor's.

        Raises:
            FileNotFoundError, ValueError: the dataset or a key of TEST cannot be used.
        """

    @abstractmethod
    def metrics(self, results: list[dict[str, Any]]) -> dict[str, dict[str, float]]:
        """The metrics: task -> name -> value.

        Args:
            results: of the whole dataset, as :func:`coco_results` makes them. Only called where the dataset
                has annotations.
        """

    def written(self, result: dict[str, Any]) -> dict[str, Any]:
        """The form of a result in the written file; subclasses change it for their benchmark's tools."""
        return result

    def reset(self) -> None:
        """Forgets the predictions."""
        self._results = []

    def process(self, inputs: Iterable[dict[str, Any]], outputs: Iterable[dict[str, Instances]]) -> None:
        """Adds the predictions for some images; neither argument is modified.

        Args:
            inputs: the samples that the model was given, each with its ``image_id``.
            outputs: the model's outputs, each with ``instances`` (scores, pred_keypoints (M, K, 3), and
                pred_boxes with ``with_boxes``) in the original image's continuous pixels.

        Raises:
            ValueError: a prediction is not finite or has another number of keypoints; names the image.
        """
        for image, output in zip(inputs, outputs, strict=True):
            try:
                results = coco_results(
                    output["instances"],
                    self.skeleton.num_keypoints,
                    image_id=image["image_id"],
                    category_id=self._category,
                    with_boxes=self._with_boxes,
                )
            except ValueError as error:
                name = image.get("file_name", f"image {image['image_id']}")
                raise ValueError(f"{name}: {error}") from error
            self._results.extend(results)

    def evaluate(self) -> dict[str, dict[str, float]]:
        """:meth:`metrics` of all predictions.

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
            file.write_text(json.dumps([self.written(result) for result in results]))
            logger.info("%s: %d poses written to %s", self.name, len(results), file)
        if "annotations" not in self.ground_truth:
            logger.warning("%s has no annotations: the poses are not evaluated", self.name)
            return {}
        if not results:
            logger.warning("%s: no pose was found in any image", self.name)
        return self.metrics(results)


def coco_results(
    instances: Instances,
    num_keypoints: int,
    *,
    image_id: int | str,
    category_id: int | str,
    with_boxes: bool = False,
) -> list[dict[str, Any]]:
    """One image's poses in COCO's result format, where the center of the first pixel is at 0 instead of 0.5.

    Args:
        instances: M detections with scores and pred_keypoints (M, K, 3), pred_boxes if ``with_boxes``.
            Detections with pred_classes other than 0 are no persons and are left out.
        num_keypoints: K.
        image_id: of the image in the dataset.
        category_id: of persons in the dataset.
        with_boxes: whether results hold boxes.

    Returns:
        M dicts of image_id, category_id, score, keypoints (3K numbers), and bbox (x, y, width, height).

    Raises:
        ValueError: a number is infinite or NaN, or the poses do not have ``num_keypoints`` keypoints.
    """
    if instances.has("pred_classes"):
        instances = instances[instances.pred_classes == 0]
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
