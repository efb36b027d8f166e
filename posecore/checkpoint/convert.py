"""Converts official checkpoints of a method to this project's names (:func:`convert_checkpoint_file`).

:func:`write_backbone` takes the backbone out of a checkpoint of this project, and :func:`write_average`
averages several.

A method that has official weights has a module ``<method>.convert_weights`` with a function
``convert(weights)``, which is found by its name.
"""

import importlib
from collections.abc import Sequence
from importlib.metadata import entry_points
from pathlib import Path

import torch
from torch import Tensor

from posecore.checkpoint.checkpointer import chosen_weights
from posecore.checkpoint.files import check_not_read, save_content, write_whole
from posecore.checkpoint.weights import read_checkpoint
from posecore.config import METHODS, get_cfg
from posecore.config.merge import UsageError, merge_config
from posecore.modeling.build import build_model

# What the names of a backbone begin with, and those of a network below a feature pyramid.
_BACKBONE = "backbone."
_BELOW_PYRAMID = "backbone.bottom_up."


def convert_checkpoint_file(method: str, source: Path, target: Path, config_file: str | Path) -> int:
    """Writes the weights of :func:`convert_checkpoint` as ``{"model": weights}``, as a whole or not at all.

    Args:
        target: the converted checkpoint; its folder is made if it is not there.

    Returns:
        The number of tensors.

    Raises:
        UsageError: as :func:`convert_checkpoint`; or ``target`` is ``source``.
        OSError: ``target`` cannot be written.
    """
    check_not_read(target, [source], "OUT")
    weights = convert_checkpoint(method, source, config_file)
    target.parent.mkdir(parents=True, exist_ok=True)
    write_whole(target, lambda unfinished: save_content({"model": weights}, unfinished))
    return len(weights)


def write_backbone(source: str, target: Path) -> int:
    """Writes the backbone of a model of this project, from which another model's training can start.

    A feature pyramid is no part of it, so that the model that it is for needs none.

    Args:
        source: the model's weights, as MODEL.WEIGHTS can be; averaged ones where the file has some.
        target: to be written as ``{"model": weights}``, as a whole or not at all.

    Returns:
        The number of tensors.

    Raises:
        UsageError: the weights have no backbone, or ``target`` is ``source``.
        CheckpointError: ``source`` is not readable.
        OSError: ``target`` cannot be written.
    """
    check_not_read(target, [source], "OUT")
    weights = chosen_weights(read_checkpoint(source), "auto", source)
    names = [name for name in weights if name.startswith(_BACKBONE)]
    below = [name for name in names if name.startswith(_BELOW_PYRAMID)]
    prefix, names = (_BELOW_PYRAMID, below) if below else (_BACKBONE, names)
    if not names:
        raise UsageError(f"IN {source} must be a model of this project, whose weights begin with {_BACKBONE}")
    backbone = {name.removeprefix(prefix): weights[name].clone() for name in names}
    target.parent.mkdir(parents=True, exist_ok=True)
    write_whole(target, lambda unfinished: save_content({"model": backbone}, unfinished))
    return len(backbone)


def write_average(sources: Sequence[str], target: Path) -> int:
    """Writes the mean of the weights of several models that were trained from the same one.

    The mean is often better than each of them (arXiv 2109.01903 and 2203.05482). Tensors of whole numbers,
    such as counters of norms, are those of the last model.

    Args:
        sources: the models' weights, at least two, as MODEL.WEIGHTS can be; averaged ones where a file has
            some.
        target: to be written as ``{"model": weights}``, as a whole or not at all.

    Returns:
        The number of tensors.

    Raises:
        UsageError: the models differ in names or shapes, or ``target`` is one of the sources.
        CheckpointError: a source is not readable.
        OSError: ``target`` cannot be written.
    """
    if len(sources) < 2:
        raise UsageError("an average needs two models or more")
    check_not_read(target, sources, "OUT")
    states = [chosen_weights(read_checkpoint(source), "auto", source) for source in sources]
    for source, state in zip(sources[1:], states[1:], strict=True):
        differing = sorted(
            name
            for name in states[0].keys() | state.keys()
            if name not in states[0] or name not in state or states[0][name].shape != state[name].shape
        )
        if differing:
            raise UsageError(
                f"{source} must have the same weights as {sources[0]}; they differ in {len(differing)}, the "
                f"first of them {differing[0]}"
            )
    average = {name: _mean([state[name] for state in states]) for name in states[0]}
    target.parent.mkdir(parents=True, exist_ok=True)
    write_whole(target, lambda unfinished: save_content({"model": average}, unfinished))
    return len(average)


def _mean(tensors: Sequence[Tensor]) -> Tensor:
    """The mean, computed in float64; of whole numbers, the last tensor."""
    last = tensors[-1]
    if not last.is_floating_point():
        return last.clone()
    return torch.stack([tensor.double() for tensor in tensors]).mean(dim=0).to(last.dtype)


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
    methods = sorted(point.module.partition(".")[0] for point in entry_points(group=METHODS))
    if method not in methods:
        raise UsageError(f"METHOD {method} is no installed method: it must be one of {', '.join(methods)}")
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
