"""Evaluation of a model on the datasets of a configuration."""

from pathlib import Path

from detectron2.config import CfgNode
from detectron2.evaluation import DatasetEvaluators, inference_on_dataset
from torch import nn

from posecore.data import build_test_loader, load_dataset, register_definitions
from posecore.evaluation import COCOPoseEvaluator
from posecore.evaluation.previews import Previews
from posecore.keypoints import load_skeleton


def evaluate(cfg: CfgNode, model: nn.Module) -> dict:
    """Runs a model on every dataset of DATASETS.TEST, in all processes together.

    Returns:
        In the main process metrics by task, or by dataset and task where there are several datasets.
    """
    results = {
        name: inference_on_dataset(model, build_test_loader(cfg, name), build_evaluator(cfg, name))
        for name in cfg.DATASETS.TEST
    }
    return results if len(results) != 1 else results[cfg.DATASETS.TEST[0]]


def build_evaluator(cfg: CfgNode, name: str) -> DatasetEvaluators:
    """What a dataset of DATASETS.TEST is scored with; the first one's poses are drawn as well.

    Raises:
        FileNotFoundError, ValueError: the dataset or a key of TEST cannot be used.
    """
    register_definitions(cfg.DATASETS.DEFINITIONS)
    skeleton = load_skeleton(cfg.DATASETS.SKELETON)
    output = Path(cfg.OUTPUT_DIR)
    scores = COCOPoseEvaluator(
        name,
        skeleton,
        tasks=cfg.TEST.TASKS,
        backend=cfg.TEST.COCO_BACKEND,
        output_dir=output / "inference" / name,
    )
    if name != cfg.DATASETS.TEST[0]:
        return DatasetEvaluators([scores])
    records = load_dataset(name, skeleton)[: cfg.TEST.NUM_PREVIEWS]
    return DatasetEvaluators([scores, Previews(records, skeleton, output / "previews.png")])
