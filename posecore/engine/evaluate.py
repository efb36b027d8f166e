"""Evaluation of a model on the datasets of a configuration: :func:`evaluate`."""

import logging

from detectron2.config import CfgNode
from detectron2.evaluation import inference_on_dataset
from detectron2.utils import comm
from torch import nn

from posecore.data import build_test_loader
from posecore.engine.determinism import operator_errors
from posecore.engine.validation import validation_losses
from posecore.evaluation import build_evaluator
from posecore.layers.precision import autocast_to
from posecore.modeling.build import inference_precision
from posecore.modeling.tta import with_tta

logger = logging.getLogger(__name__)


@operator_errors()
def evaluate(cfg: CfgNode, model: nn.Module) -> dict:
    """Runs a model on every dataset of DATASETS.TEST, in TEST.PRECISION and with TEST.AUG's augmentation.

    All processes call it together and share the images.

    Returns:
        In the main process the metrics: task -> name -> value, or dataset -> task -> name -> value where
        there are several datasets. With TEST.LOSSES there is a task "losses" as well.

    Raises:
        UsageError: DETERMINISTIC is True, and an operator of the model has no deterministic form.
    """
    images, augmented = with_tta(cfg, model)
    with autocast_to(inference_precision(cfg), model):
        results = {
            name: inference_on_dataset(augmented, build_test_loader(images, name), build_evaluator(cfg, name))
            for name in cfg.DATASETS.TEST
        }
        losses_by_dataset = validation_losses(cfg, model) if cfg.TEST.LOSSES else {}
    for name, losses in losses_by_dataset.items():
        values = ", ".join(f"{loss} {value:.4g}" for loss, value in losses.items())
        logger.info("on %s: %s", name, values)
        if comm.is_main_process():
            results[name]["losses"] = losses
    return results if len(results) != 1 else results[cfg.DATASETS.TEST[0]]
