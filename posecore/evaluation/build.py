"""Chooses the evaluator of a dataset: :func:`build_evaluator`."""

from pathlib import Path
from pkgutil import resolve_name

from detectron2.config import CfgNode
from detectron2.evaluation import DatasetEvaluator, DatasetEvaluators

from posecore.data import dataset_format, load_dataset, register_definitions
from posecore.evaluation.previews import Previews
from posecore.evaluation.results import PoseEvaluator
from posecore.structures.skeleton import load_skeleton


def build_evaluator(cfg: CfgNode, name: str) -> DatasetEvaluators:
    """The evaluator of a dataset's format; for the first of DATASETS.TEST, its poses are drawn as well.

    Args:
        cfg: DATASETS, TEST, OUTPUT_DIR.
        name: one of DATASETS.TEST.

    Raises:
        FileNotFoundError, ValueError: the dataset or a key of TEST cannot be used.
    """
    register_definitions(cfg.DATASETS.DEFINITIONS)
    skeleton = load_skeleton(cfg.DATASETS.SKELETON)
    output_dir = Path(cfg.OUTPUT_DIR)
    evaluator: type[PoseEvaluator] = resolve_name(dataset_format(name).evaluator)
    evaluators: list[DatasetEvaluator] = [
        evaluator.from_config(cfg, name, skeleton, output_dir / "inference" / name)
    ]
    if name == cfg.DATASETS.TEST[0]:
        records = load_dataset(name, skeleton)[: cfg.TEST.NUM_PREVIEWS]
        evaluators.append(Previews(records, skeleton, output_dir / "previews.png"))
    return DatasetEvaluators(evaluators)
