"""Checks the values of a configuration before they are merged: :func:`check_values`.

yacs checks the type of a value and nothing within it, and takes None for a value of any type.
"""

import math
from collections.abc import Mapping
from typing import Any

from detectron2.config import CfgNode

from posecore.config.errors import UsageError

# Whole numbers beyond it fit in no tensor.
MAX_NUMBER = 2**63 - 1
_KINDS: list[tuple[type | tuple[type, ...], str]] = [
    (bool, "a boolean"),
    ((int, float), "a number"),
    (str, "text"),
    ((list, tuple), "a list"),
    (Mapping, "a section"),
    (type(None), "null"),
]


def check_values(given: Mapping, known: Mapping, where: str, prefix: str = "") -> None:
    """Checks the content of a file.

    Args:
        given: sections, keys and values; text that is a Python literal counts as that literal.
        known: the configuration that they are merged into; keys that it does not have are not compared.
        where: the file, for messages.
        prefix: of the keys.

    Raises:
        UsageError: a key is no text, or a value cannot be one of its key; the message names both.
    """
    for key, value in given.items():
        if not isinstance(key, str):
            raise UsageError(f"{where}: the key {prefix}{key!r} must be text")
        current = known.get(key)
        if isinstance(value, Mapping):
            section = current if isinstance(current, Mapping) else {}
            if key in known and not isinstance(current, Mapping):
                raise UsageError(f"{where}: {prefix}{key} must be {kind(current)}, not a section")
            check_values(value, section, where, f"{prefix}{key}.")
        else:
            check_value(f"{prefix}{key}", value, current, where, is_known=key in known)


def check_value(key: str, value: Any, current: Any, where: str, *, is_known: bool = True) -> None:
    """Checks a single value.

    Args:
        key: for messages.
        value: of the key.
        current: the value that it replaces.
        where: the file or "command line", for messages.
        is_known: whether there is a current value.

    Raises:
        UsageError: see :func:`check_values`.
    """
    if isinstance(value, str):
        try:
            decoded = CfgNode._decode_cfg_value(value)
        # A literal that is nested too deeply for Python's parser, or has a list or a dict for a key.
        except (RecursionError, MemoryError, TypeError, AssertionError) as error:
            message = f"{where}: {key}: the literal {_short(value)} means nothing ({error})"
            raise UsageError(message) from error
        if decoded is None or not isinstance(current, str):  # "None" would become None for text, too
            value = decoded
    if isinstance(current, Mapping):
        raise UsageError(f"{where}: {key} is a section: give its keys one by one, not {_short(value)}")
    _check_plain(key, value, current, where)
    if not is_known:
        return
    if value is None and current is not None:
        raise UsageError(f"{where}: {key} must be {kind(current)}, not null")
    if not isinstance(value, (list, tuple)) or not isinstance(current, (list, tuple)):
        return
    kinds = {kind(element) for element in current}
    if kinds not in ({"a number"}, {"text"}):
        return
    for element in value:
        if kind(element) not in kinds:
            right = f"{kinds.pop()}, as in {current}"
            raise UsageError(f"{where}: each element of {key} must be {right}, not {_short(element)}")


def kind(value: Any) -> str:
    """The kind of a value in words."""
    return next((name for types, name in _KINDS if isinstance(value, types)), f"a {type(value).__name__}")


def _check_plain(key: str, value: Any, current: Any, where: str) -> None:
    """Checks that a value is plain, and that its numbers are finite and moderate."""
    if isinstance(value, (list, tuple)):
        for element in value:
            _check_plain(key, element, None, where)
    elif isinstance(value, Mapping):
        raise UsageError(f"{where}: {key} must be {kind(current)}, not the section {_short(value)}")
    elif isinstance(value, float) and not math.isfinite(value) and value != current:
        raise UsageError(f"{where}: {key} must be a finite number, not {value}")
    elif isinstance(value, int) and abs(value) > MAX_NUMBER:
        raise UsageError(f"{where}: {key} must be a number up to {MAX_NUMBER}, not one of {_digits(value)}")
    elif value is not None and not isinstance(value, (bool, int, float, str)):
        raise UsageError(f"{where}: {key} must be {kind(current)}, not the {type(value).__name__} {value}")


def _digits(value: int) -> str:
    return f"about {int(value.bit_length() * math.log10(2)) + 1} digits"


def _short(value: Any) -> str:
    text = repr(value)
    return text if len(text) <= 60 else f"{text[:57]}..."
