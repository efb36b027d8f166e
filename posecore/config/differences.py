"""Compares configurations: :func:`differences`."""

from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from posecore.config.yaml_text import load_yaml


def read_recorded(file: Path) -> dict[str, Any]:
    """The configuration that a run wrote as OUTPUT_DIR/config.yaml; empty if there is none.

    Raises:
        ValueError: the file is no YAML of keys and values; the message names it.
    """
    if not file.is_file():
        return {}
    try:
        content = load_yaml(file.read_text(encoding="utf-8"))
    except ValueError as error:
        raise ValueError(f"{file} cannot be read: {error}") from error
    if not isinstance(content, dict):
        raise ValueError(f"{file} must be YAML of keys and values")
    return content


def differences(a: Mapping, b: Mapping, prefix: str = "") -> Iterator[tuple[str, Any, Any]]:
    """Keys that both have with different values, and the two values."""
    for key in sorted(a.keys() & b.keys()):
        if isinstance(a[key], Mapping) and isinstance(b[key], Mapping):
            yield from differences(a[key], b[key], f"{prefix}{key}.")
        elif a[key] != b[key]:
            yield f"{prefix}{key}", a[key], b[key]
