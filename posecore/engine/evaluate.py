"""Evaluation of a model on the datasets of a configuration."""

import logging
from pathlib import Path

from detectron2.config import CfgNode
from detectron2.evaluation import DatasetEvaluators, inference_on_dataset
from detectron2.utils import comm
from torch import nn

from posecore.data import (
    build_test_loader,
    dataset_metadata,
    load_dataset,
    register_definitions,
)
from posecore.engine.validation import validation_losses
from posecore.evaluation import (
    COCOPoseEvaluator,
    CrowdPoseEvaluator,
    MPIIEvaluator,
    PoseEvaluator,
    WholeBodyEvaluator,
)
from posecore.evaluation.previews import Previews
from posecore.modeling.tta import with_tta
from posecore.structures.skeleton import Skeleton, load_skeleton

logger = logging.getLogger(__name__)


def evaluate(cfg: CfgNode, model: nn.Module) -> dict:
    """Runs a model on every dataset of DATASETS.TEST, in all processes together, augmented as TEST.AUG says.

    Returns:
        In the main process metrics by task, or by dataset and task where there are several datasets; with
        TEST.LOSSES they have the task "losses", too.
    """
    images, augmented = with_tta(cfg, model)
    results = {
        name: inference_on_dataset(augmented, build_test_loader(images, name), build_evaluator(cfg, name))
        for name in cfg.DATASETS.TEST
    }
    if cfg.TEST.LOSSES:
        for name, losses in validation_losses(cfg, model).items():
            values = ", ".join(f"{loss} {value:.4g}" for loss, value in losses.items())
            logger.info("on %s: %s", name, values)
            if comm.is_main_process():
                results[name]["losses"] = losses
    return results if len(results) != 1 else results[cfg.DATASETS.TEST[0]]


def build_evaluator(cfg: CfgNode, name: str) -> DatasetEvaluators:
    """What a dataset of DATASETS.TEST is scored with; the first one's poses are drawn as well.

    Raises:
        FileNotFoundError, ValueError: the dataset or a key of TEST cannot be used.
    """
    register_definitions(cfg.DATASETS.DEFINITIONS)
    skeleton = load_skeleton(cfg.DATASETS.SKELETON)
    scores = _scores(cfg, name, skeleton)
    if name != cfg.DATASETS.TEST[0]:
        return DatasetEvaluators([scores])
    records = load_dataset(name, skeleton)[: cfg.TEST.NUM_PREVIEWS]
    return DatasetEvaluators([scores, Previews(records, skeleton, Path(cfg.OUTPUT_DIR) / "previews.png")])


def _scores(cfg: CfgNode, name: str, skeleton: Skeleton) -> PoseEvaluator:
    """By the kind of the dataset."""
    kind = dataset_metadata(name).get("evaluator_type", "coco")
    output_dir = Path(cfg.OUTPUT_DIR) / "inference" / name
    if kind == "mpii":
        return MPIIEvaluator(name, skeleton, output_dir=output_dir)
    coco = {"tasks": cfg.TEST.TASKS, "backend": cfg.TEST.COCO_BACKEND, "output_dir": output_dir}
    if kind == "crowdpose":
        return CrowdPoseEvaluator(name, skeleton, borders=cfg.TEST.CROWD_BORDERS, **coco)
    evaluator = WholeBodyEvaluator if kind == "coco_wholebody" else COCOPoseEvaluator
    return evaluator(name, skeleton, **coco)
