"""Recognizes JSON files by what is at their top: :class:`JsonShape`."""

import functools
import itertools
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from posecore.data.importers.files import files_below, read_json


@dataclass(frozen=True)
class JsonShape:
    """What is at the top of a JSON document, by which formats are recognized.

    Attributes:
        kind: "object", "list" or "other".
        keys: of an object.
        lists: the keys of an object whose values are lists.
        inner: the keys that all of the first entries have, where they are objects: the values of an object,
            the elements of a list.
    """

    kind: str
    keys: frozenset[str] = frozenset()
    lists: frozenset[str] = frozenset()
    inner: frozenset[str] = frozenset()


def json_files(source: Path, fits: Callable[[JsonShape], bool]) -> list[Path]:
    """The JSON files of a folder, or the file itself, that have a shape; broken files have none."""
    files = [source] if source.is_file() else files_below(source)
    return [file for file in files if file.suffix.lower() == ".json" and fits(json_shape(file))]


def json_shape(file: Path) -> JsonShape:
    """The shape of a JSON file; a file is read once for all formats that are tried."""
    return _json_shape(file, file.stat().st_mtime_ns)


@functools.cache
def _json_shape(file: Path, changed: int) -> JsonShape:
    try:
        content = read_json(file)
    except (OSError, ValueError):
        return JsonShape("other")
    if isinstance(content, dict):
        first = list(itertools.islice(content.values(), 5))
        lists = frozenset(key for key, value in content.items() if isinstance(value, list))
        return JsonShape("object", frozenset(content), lists, _common_keys(first))
    if isinstance(content, list):
        return JsonShape("list", inner=_common_keys(content[:5]))
    return JsonShape("other")


def _common_keys(entries: list[Any]) -> frozenset[str]:
    if not entries or not all(isinstance(entry, dict) for entry in entries):
        return frozenset()
    return frozenset.intersection(*(frozenset(entry) for entry in entries))
