"""Merges configuration files and command-line overrides into a configuration: :func:`merge_config`."""

import difflib
from collections.abc import Iterator, Mapping, Sequence
from functools import reduce
from pathlib import Path

from detectron2.config import CfgNode

from posecore.config.device import find_device
from posecore.config.errors import UsageError
from posecore.config.node import SafeCfgNode

__all__ = ["UsageError", "merge_config"]


def merge_config(cfg: CfgNode, config_file: str | Path, overrides: Sequence[str] = ()) -> CfgNode:
    """Merges a file and then KEY VALUE pairs into ``cfg``, settles MODEL.DEVICE, and freezes it.

    Args:
        cfg: all known keys with their defaults.
        config_file: YAML, which may name a file that it extends as ``_BASE_``; "" for none.
        overrides: alternating keys and values, as on a command line.

    Returns:
        ``cfg`` itself.

    Raises:
        UsageError: a file is missing or no YAML, or a key is unknown or of another type; the message names
            the file or key and similar ones.
    """
    if config_file:
        _check_keys(cfg, _read(Path(config_file)), where=str(config_file))
        try:
            cfg.merge_from_file(str(config_file), allow_unsafe=False)
        except (ValueError, AssertionError) as error:
            raise UsageError(f"{config_file}: {_shortened(str(error))}") from error
    if options := [key for key in overrides[::2] if key.startswith("-")]:
        raise UsageError(f"{options[0]} must come before the KEY VALUE pairs")
    if len(overrides) % 2:
        raise UsageError(f"overrides must be KEY VALUE pairs, but {overrides[-1]!r} has no value")
    for key, value in zip(overrides[::2], overrides[1::2], strict=True):
        _check_keys(cfg, _nest(key, value), where="command line")
        try:
            cfg.merge_from_list([key, _as_float(value) if _is_float(cfg, key) else value])
        except (ValueError, AssertionError) as error:
            raise UsageError(f"command line: {_shortened(str(error))}") from error
    try:
        find_device(cfg.MODEL.DEVICE)
    except ValueError as error:
        raise UsageError(str(error)) from error
    cfg.freeze()
    return cfg


def _shortened(message: str) -> str:
    """A message without the middle of a long value; yacs names the key at the end."""
    return message if len(message) <= 1000 else f"{message[:400]} ... {message[-400:]}"


def _read(path: Path) -> dict:
    try:
        return SafeCfgNode.load_yaml_with_base(str(path))
    except FileNotFoundError as error:
        missing = Path(error.filename)
        near = _near(missing.name, sorted(p.name for p in missing.parent.glob("*.yaml")))
        raise UsageError(f"config file {missing} does not exist{near}") from error
    except OSError as error:
        raise UsageError(f"config file {path} cannot be read: {_shortened(str(error))}") from error


def _check_keys(cfg: CfgNode, given: Mapping, where: str) -> None:
    for key in _unknown(given, cfg):
        known_keys = list(_flat(cfg))
        elsewhere = [known for known in known_keys if known.rpartition(".")[2] == key.rpartition(".")[2]]
        raise UsageError(f"{where}: unknown config key {key}{_near(key, known_keys, elsewhere)}")


def _unknown(given: Mapping, known: CfgNode, prefix: str = "") -> Iterator[str]:
    for key, value in given.items():
        if key not in known:
            yield f"{prefix}{key}"
        elif isinstance(value, Mapping):
            section = known[key] if isinstance(known[key], CfgNode) else CfgNode()
            yield from _unknown(value, section, f"{prefix}{key}.")


def _flat(cfg: CfgNode, prefix: str = "") -> Iterator[str]:
    for key, value in cfg.items():
        if isinstance(value, CfgNode):
            yield from _flat(value, f"{prefix}{key}.")
        else:
            yield f"{prefix}{key}"


def _is_float(cfg: CfgNode, key: str) -> bool:
    return isinstance(reduce(getattr, key.split("."), cfg), float)


def _as_float(value: str) -> str:
    """Writes a whole number as a float, which Detectron2 requires for keys that are floats."""
    return f"{value}.0" if str(value).lstrip("+-").isdecimal() else value


def _nest(key: str, value: str) -> dict:
    """``A.B``, v -> {A: {B: v}}"""
    first, dot, rest = key.partition(".")
    return {first: _nest(rest, value) if dot else value}


def _near(name: str, candidates: Sequence[str], others: Sequence[str] = ()) -> str:
    near = list(dict.fromkeys([*difflib.get_close_matches(name, candidates, n=3), *others]))[:4]
    return f"; near it: {', '.join(near)}" if near else ""
