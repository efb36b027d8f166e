"""Converts official checkpoints of a method to this project's names (:func:`convert_checkpoint`).

A method that has official weights has a module ``<method>.convert_weights`` with a function
``convert(weights)``, which is found by its name.
"""

import importlib
from pathlib import Path

from detectron2.modeling import build_model
from torch import Tensor

from posecore.checkpoint.weights import read_checkpoint
from posecore.config import get_cfg
from posecore.config.merge import UsageError, merge_config


def convert_checkpoint(method: str, source: Path, config_file: str | Path) -> dict[str, Tensor]:
    """The weights of an official checkpoint under the names of the configuration's model.

    Nothing that the file may hold is run.

    Args:
        method: a method's package, such as "fcpose".
        source: the official checkpoint.
        config_file: the model that it is for.

    Returns:
        Name -> tensor, exactly those of the model.

    Raises:
        UsageError: the method has no official names, or the weights are not those of the model.
        CheckpointError, ValueError: the file is not readable, or not of this method.
    """
    try:
        official = importlib.import_module(f"{method}.convert_weights")
    except ModuleNotFoundError as error:
        raise UsageError(f"METHOD {method}: no official names are known here ({error})") from error
    cfg = merge_config(get_cfg(), config_file, ["MODEL.DEVICE", "cpu", "MODEL.WEIGHTS", ""])
    model = build_model(cfg)
    # Clones, because a view of a larger tensor would be saved with all of it.
    weights = {
        name: tensor.clone()
        for name, tensor in official.convert(read_checkpoint(str(source))["model"]).items()
    }
    try:
        model.load_state_dict(weights)
    except RuntimeError as error:
        raise UsageError(f"{source} does not fit the model of {config_file}: {error}") from error
    return weights
