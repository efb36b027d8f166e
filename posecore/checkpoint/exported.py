"""Exported models, which carry their configuration: :func:`export_model` and :func:`exported_config`."""

from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import asdict
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import torch
import yaml
from detectron2.config import CfgNode
from torch import Tensor

import posecore
from posecore.checkpoint.checkpointer import chosen_weights, weight_choice
from posecore.checkpoint.files import check_not_read, write_whole
from posecore.checkpoint.safetensors_files import ENDING, ModelHeader, read_header, write_safetensors
from posecore.checkpoint.weights import CheckpointError, local_file, read_checkpoint
from posecore.config import get_cfg
from posecore.config.errors import UsageError
from posecore.config.merge import merge_config
from posecore.config.node import BASE
from posecore.config.yaml_text import load_yaml
from posecore.modeling.build import build_model
from posecore.structures.skeleton import Skeleton, load_skeleton

# The sections and keys that prediction reads. Others say where a training had its data and how it went. Of
# TEST.WEIGHTS the file holds the chosen ones alone.
_SECTIONS = ("MODEL", "INPUT", "TEST")
_LEFT_OUT = ("MODEL.WEIGHTS", "MODEL.DEVICE", "TEST.WEIGHTS")


def export_model(source: str, target: Path, config_file: Path | None = None, *, half: bool = False) -> int:
    """Writes a trained model as one safetensors file, from which alone it can be built.

    The file holds the weights, the configuration keys that prediction reads, and the skeleton. Nothing of the
    optimizer is in it, and no path of this machine.

    Args:
        source: the weights, as MODEL.WEIGHTS can be; of a checkpoint with averaged weights, those that the
            configuration's TEST.WEIGHTS names.
        target: to be written, as a whole or not at all; its name must end in ``.safetensors``.
        config_file: the model's configuration; None for the ``config.yaml`` of the folder of ``source``,
            which a training leaves there.
        half: whether parameters are written in 16 bits (float16). Buffers, such as the statistics of norms,
            stay as they are, because an error of theirs is one of a whole channel.

    Returns:
        The number of tensors.

    Raises:
        UsageError: ``target`` has another ending or is ``source``, there is no configuration, or the
            weights are not exactly those of its model, or are too large for 16 bits.
        CheckpointError: ``source`` is not readable or not finite.
        OSError: ``target`` cannot be written.
    """
    if target.suffix != ENDING:
        raise UsageError(f"OUT {target} must end in {ENDING}")
    check_not_read(target, [source], "OUT")
    if config_file is None:
        config_file = Path(source).parent / "config.yaml"
        if not config_file.is_file():
            raise UsageError(
                f"{config_file} does not exist: give the configuration of {source} (--config-file)"
            )
    cfg = merge_config(get_cfg(), config_file, ["MODEL.DEVICE", "cpu", "MODEL.WEIGHTS", ""])
    skeleton = load_skeleton(cfg.DATASETS.SKELETON)
    header = ModelHeader(_dump(_prediction_keys(cfg)), _skeleton_text(skeleton), _versions())
    weights = chosen_weights(read_checkpoint(source), weight_choice(cfg), source)
    # The model is built as a reader of the file will build it.
    with _configuration(header, str(target), ["MODEL.DEVICE", "cpu"]) as written:
        model = build_model(written)
    if wrong := [name for name, weight in weights.items() if not weight.isfinite().all()]:
        raise CheckpointError(f"MODEL.WEIGHTS {source}: {wrong[0]} is not finite")
    try:
        model.load_state_dict(weights)
    except RuntimeError as error:
        raise UsageError(f"{source} does not fit the model of {config_file}: {error}") from error
    state = model.state_dict()
    if half:
        # Each name of a parameter that has several.
        parameters = model.named_parameters(remove_duplicate=False)
        state.update({name: _halved(name, parameter.detach()) for name, parameter in parameters})
    target.parent.mkdir(parents=True, exist_ok=True)
    write_whole(target, lambda unfinished: write_safetensors(state, unfinished, header))
    return len(state)


@contextmanager
def exported_config(source: str, overrides: Sequence[str] = ()) -> Iterator[CfgNode]:
    """The configuration that lies in an exported model, with MODEL.WEIGHTS.

    Build the model inside the context: the skeleton is in a temporary file meanwhile.

    Args:
        source: the exported model, as MODEL.WEIGHTS can be.
        overrides: KEY VALUE pairs, flat.

    Raises:
        CheckpointError: the file cannot be read, or has no configuration.
        UsageError: an override, or a key of the configuration, is unknown here.
    """
    try:
        file = local_file(source)
        header = read_header(file) if file.suffix == ENDING else None
    except CheckpointError:
        raise
    except (ValueError, OSError) as error:
        raise CheckpointError(f"MODEL.WEIGHTS {source}: {error}") from error
    if header is None:
        raise CheckpointError(
            f"MODEL.WEIGHTS {source} has no configuration in it: give --config-file, or a file that "
            "`tools/convert_checkpoint.py export` made"
        )
    _check_config(header.config, source)
    with _configuration(header, source, ["MODEL.WEIGHTS", source, *overrides]) as cfg:
        yield cfg


def _check_config(text: str, source: str) -> None:
    """Checks that a configuration in a file, which anybody may have made, leads to no other file.

    Raises:
        CheckpointError: it is no YAML of keys and values, or extends a file or an address.
    """
    try:
        content = load_yaml(text)
    except ValueError as error:
        raise CheckpointError(f"MODEL.WEIGHTS {source}: the configuration in it: {error}") from error
    if not isinstance(content, dict) or BASE in content:
        raise CheckpointError(
            f"MODEL.WEIGHTS {source}: the configuration in it must be YAML of keys and values, without {BASE}"
        )


@contextmanager
def _configuration(header: ModelHeader, source: str, overrides: Sequence[str]) -> Iterator[CfgNode]:
    with TemporaryDirectory(prefix="posecore_") as folder:
        # Errors name the file.
        config = Path(folder, f"config_in_{Path(source).stem}.yaml")
        skeleton = Path(folder, f"skeleton_in_{Path(source).stem}.yaml")
        config.write_text(header.config, encoding="utf-8")
        skeleton.write_text(header.skeleton, encoding="utf-8")
        yield merge_config(get_cfg(), config, ["DATASETS.SKELETON", str(skeleton), *overrides])


def _prediction_keys(cfg: CfgNode) -> dict[str, Any]:
    """The keys that prediction reads, where they differ from the defaults; without any that name files."""
    defaults = get_cfg()
    sections = {section: _differing(cfg[section], defaults[section], f"{section}.") for section in _SECTIONS}
    return {"VERSION": cfg.VERSION} | {section: keys for section, keys in sections.items() if keys}


def _differing(cfg: CfgNode, defaults: CfgNode, prefix: str) -> dict[str, Any]:
    keys: dict[str, Any] = {}
    for name, value in cfg.items():
        if isinstance(value, CfgNode):
            if inner := _differing(value, defaults[name], f"{prefix}{name}."):
                keys[name] = inner
        elif value != defaults[name] and f"{prefix}{name}" not in _LEFT_OUT and not _names_file(value):
            keys[name] = value
    return keys


def _names_file(value: Any) -> bool:
    values = value if isinstance(value, (list, tuple)) else [value]
    return any(isinstance(item, str) and "/" in item for item in values)


def _skeleton_text(skeleton: Skeleton) -> str:
    return _dump(asdict(skeleton))


def _dump(content: Mapping[str, Any]) -> str:
    return yaml.safe_dump(_plain(content), sort_keys=True, allow_unicode=True)


def _plain(value: Any) -> Any:
    """A value with lists for tuples, which YAML has no plain form of."""
    if isinstance(value, Mapping):
        return {key: _plain(item) for key, item in value.items()}
    return [_plain(item) for item in value] if isinstance(value, (list, tuple)) else value


def _halved(name: str, weight: Tensor) -> Tensor:
    if weight.dtype != torch.float32:
        return weight
    half = weight.half()
    if not half.isfinite().all():
        raise UsageError(f"{name} has numbers above 65504, too large for 16 bits: export without --half")
    return half


def _versions() -> dict[str, str]:
    versions = {"posecore": posecore.__version__, "torch": torch.__version__}
    for distribution in ("detectron2", "pb1-detectron2"):
        try:
            versions["detectron2"] = version(distribution)
        except PackageNotFoundError:
            continue
    return versions
