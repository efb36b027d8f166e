"""Options: :func:`choice` and :func:`choices` read configuration keys that have a few known values.

The values map to what they stand for: a function, a class or a Literal. Code behind them never compares texts
again, and a wrong value has one form of error whatever the key.
"""

from collections.abc import Mapping
from functools import reduce
from typing import Any, TypeVar

from detectron2.config import CfgNode

Option = TypeVar("Option")


def choice(cfg: CfgNode, key: str, options: Mapping[Any, Option]) -> Option:
    """The option that the value of a key stands for.

    Args:
        cfg: the configuration.
        key: its full name, such as "SOLVER.OPTIMIZER".
        options: value -> option, all that there are.

    Raises:
        ValueError: the value is not among the options; the message names the key, the value and all options.
    """
    return _option(key, _value(cfg, key), options, "be one of")


def choices(cfg: CfgNode, key: str, options: Mapping[Any, Option]) -> tuple[Option, ...]:
    """The options that a key's list of values stands for, in its order; at least one.

    Arguments and errors are those of :func:`choice`; an empty list is an error as well.
    """
    values = _value(cfg, key)
    if not values:
        raise ValueError(f"{key} must hold one or more of {_listed(options)}, but it is empty")
    return tuple(_option(key, value, options, "hold only") for value in values)


def _value(cfg: CfgNode, key: str) -> Any:
    return reduce(getattr, key.split("."), cfg)


def _option(key: str, value: Any, options: Mapping[Any, Option], verb: str) -> Option:
    if value not in options:
        raise ValueError(f"{key} must {verb} {_listed(options)}, not {value!r}")
    return options[value]


def _listed(options: Mapping[Any, Any]) -> str:
    return ", ".join(map(repr, options))
