"""Shows a merged configuration with the source of each value: :func:`config_with_sources`."""

import os
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import yaml
from detectron2.config import CfgNode

from posecore.config.node import config_layers
from posecore.config.yaml_text import load_yaml

DEFAULT = "default"
COMMAND_LINE = "command line"
FOUND_DEVICE = "default, found on this machine"
# Comments begin in this column where values leave the space.
COMMENT_COLUMN = 60
INDENT = "  "


def config_with_sources(cfg: CfgNode, config_file: str | Path, overrides: Sequence[str] = ()) -> str:
    """The configuration as YAML, where each line with a value names in a comment where the value came from.

    The text is itself a configuration file with the same values.

    Args:
        cfg: the result of :func:`posecore.config.merge.merge_config` for the other arguments.
        config_file: YAML; "" for none.
        overrides: KEY VALUE pairs, flat.
    """
    sources = value_sources(config_file, overrides)
    sources.setdefault("MODEL.DEVICE", FOUND_DEVICE)
    # The dump writes tuples as the lists that YAML has.
    return "\n".join(_lines(load_yaml(cfg.dump()), sources))


def value_sources(config_file: str | Path, overrides: Sequence[str] = ()) -> dict[str, str]:
    """Where the values came from that are not defaults: key -> file or "command line".

    A value has the last source that gives it, also where it gives the same value as an earlier one. A section
    that a source gives as a whole has that source for all its keys.
    """
    sources: dict[str, str] = {}
    if config_file:
        for file, content in config_layers(os.fspath(config_file)):
            sources.update(dict.fromkeys(_leaves(content), os.path.relpath(file)))
    sources.update(dict.fromkeys(overrides[::2], COMMAND_LINE))
    return sources


def _leaves(content: Mapping[str, Any], prefix: str = "") -> Iterator[str]:
    for key, value in content.items():
        if isinstance(value, Mapping):
            yield from _leaves(value, f"{prefix}{key}.")
        else:
            yield f"{prefix}{key}"


def _lines(section: Mapping[str, Any], sources: Mapping[str, str], prefix: str = "") -> Iterator[str]:
    indent = INDENT * prefix.count(".")
    for key, value in section.items():
        if isinstance(value, Mapping) and value:
            yield f"{indent}{key}:"
            yield from _lines(value, sources, f"{prefix}{key}.")
        else:
            text = f"{indent}{key}: {_flow(value)}"
            yield f"{text:{COMMENT_COLUMN}}  # {sources.get(prefix + key, DEFAULT)}"


def _flow(value: Any) -> str:
    """A value in one line of YAML."""
    text = yaml.safe_dump(value, default_flow_style=True, width=float("inf"), allow_unicode=True)
    return text.removesuffix("\n").removesuffix("\n...")
