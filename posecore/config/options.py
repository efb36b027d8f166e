"""Keys whose value is one of a few."""

from collections.abc import Mapping
from functools import reduce
from typing import Any, TypeVar

from detectron2.config import CfgNode

Option = TypeVar("Option")


def choice(cfg: CfgNode, key: str, options: Mapping[Any, Option]) -> Option:
    """What the value of a key stands for.

    Raises:
        ValueError: the value is none of the options; the message names the key and all of them.
    """
    value = reduce(getattr, key.split("."), cfg)
    if value not in options:
        raise ValueError(f"{key} must be one of {', '.join(map(repr, options))}, not {value!r}")
    return options[value]
