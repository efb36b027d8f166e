"""Loads the trained model of a configuration, for analyses of one method (:func:`load_model`)."""

from collections.abc import Sequence
from pathlib import Path
from typing import TypeVar

from detectron2.config import CfgNode

from posecore.checkpoint.checkpointer import PoseCheckpointer, weight_choice
from posecore.checkpoint.weights import require_weights
from posecore.config import get_cfg
from posecore.config.merge import UsageError, merge_config
from posecore.modeling.build import build_model
from posecore.modeling.estimator import PoseEstimator

Model = TypeVar("Model", bound=PoseEstimator)


def load_model(
    config_file: str | Path, overrides: Sequence[str], method: type[Model]
) -> tuple[CfgNode, Model]:
    """A configuration and its model with the weights of MODEL.WEIGHTS, in evaluation mode.

    Args:
        config_file: the configuration.
        overrides: KEY VALUE pairs, flat.
        method: the class that the model must be of.

    Raises:
        UsageError: the configuration cannot be used, or its model is of another class.
        CheckpointError: there are no weights, or they cannot be read or do not fit.
        ValueError: as :func:`~posecore.modeling.build.build_model`.
    """
    cfg = merge_config(get_cfg(), config_file, overrides)
    require_weights(cfg.MODEL.WEIGHTS)
    model = build_model(cfg)
    if not isinstance(model, method):
        raise UsageError(
            f"{config_file}: this analysis is about {method.__name__}, and MODEL.META_ARCHITECTURE is "
            f"{cfg.MODEL.META_ARCHITECTURE!r}"
        )
    PoseCheckpointer(model).load(cfg.MODEL.WEIGHTS, weights=weight_choice(cfg))
    return cfg, model.eval()
