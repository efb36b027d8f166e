"""The configuration that :func:`posecore.config.get_cfg` returns: :class:`SafeCfgNode`."""

import ast
import os
from collections.abc import Iterator, Mapping, Sequence
from functools import reduce
from typing import Any

from detectron2.config import CfgNode
from detectron2.utils.file_io import PathManager

from posecore.config.device import AUTO, find_device
from posecore.config.errors import UsageError
from posecore.config.values import check_value, check_values
from posecore.config.yaml_text import MAX_CHARACTERS, load_yaml

BASE = "_BASE_"
# Those of Detectron2's configurations, which it can convert.
VERSIONS = (1, 2)
# Limits of the files that one file is made of, so that files that name each other end.
MAX_BASES = 200
MAX_BASE_DEPTH = 20


class SafeCfgNode(CfgNode):
    """Detectron2's configuration, whose files cannot run code.

    Detectron2 reads a file with Python tags by an unsafe loader. This class refuses such a file, also where
    it is a ``_BASE_``. Only the root of a configuration is of this class: yacs compares the types of
    sections, and methods and users add sections of Detectron2's class.

    A number for a key that holds text is taken as text (``OUTPUT_DIR 2024``). A merged MODEL.DEVICE of
    "auto" becomes the device that it stands for, because Detectron2's ``build_model`` knows torch's names
    alone.
    """

    @classmethod
    def load_yaml_with_base(cls, filename: str, allow_unsafe: bool = False) -> dict[str, Any]:
        """The content of a file merged into that of the files that it names as ``_BASE_``.

        Args:
            filename: YAML; a relative ``_BASE_`` is relative to the folder of the file that names it.
            allow_unsafe: has no effect; the argument is Detectron2's.

        Raises:
            UsageError: a file is no YAML of keys and plain values, or a ``_BASE_`` is wrong.
            FileNotFoundError: a file does not exist.
        """
        merged: dict[str, Any] = {}
        for file, content in config_layers(os.fspath(filename)):
            _merge(content, merged, file)
        return merged

    @classmethod
    def _decode_cfg_value(cls, value: Any) -> Any:
        try:
            return CfgNode._decode_cfg_value(value)
        # A literal that is nested too deeply for Python's parser, or a set or a key of what cannot be one.
        except (RecursionError, MemoryError, TypeError):
            return value

    def merge_from_file(self, cfg_filename: str, allow_unsafe: bool = False) -> None:
        """Merges a file; see :meth:`load_yaml_with_base`.

        Raises:
            KeyError, ValueError: a key is unknown, or a value cannot be one of its key.
        """
        content = self.load_yaml_with_base(os.fspath(cfg_filename))
        where = f"config file {os.fspath(cfg_filename)}"
        version = content.get("VERSION", VERSIONS[-1])
        if type(version) is not int or version not in VERSIONS:
            raise UsageError(f"{where}: VERSION must be one of {VERSIONS}, not {version!r}")
        check_values(content, self, where)
        super().merge_from_file(os.fspath(cfg_filename), allow_unsafe=False)

    def merge_from_other_cfg(self, cfg_other: CfgNode) -> None:
        """Merges the values of another configuration; numbers for keys of text become text."""
        new = cfg_other.clone()
        _quote_numbers(new, self)
        super().merge_from_other_cfg(new)
        _name_device(self)

    def merge_from_list(self, cfg_list: Sequence[Any]) -> None:
        """Merges pairs of keys and values; numbers for keys of text become text."""
        pairs = list(cfg_list)
        for key, value in zip(pairs[::2], pairs[1::2], strict=False):
            current = _current(self, key)
            check_value(str(key), value, current, "command line", is_known=current is not None)
        for place in range(1, len(pairs), 2):
            if isinstance(_current(self, pairs[place - 1]), str) and _is_number(pairs[place]):
                pairs[place] = repr(str(pairs[place]))
        super().merge_from_list(pairs)
        _name_device(self)


def _name_device(cfg: CfgNode) -> None:
    if _current(cfg, "MODEL.DEVICE") == AUTO:
        cfg.MODEL.DEVICE = find_device(AUTO)


def config_layers(filename: str) -> Iterator[tuple[str, dict[str, Any]]]:
    """The files that a configuration is made of, with their contents, in the order in which they are merged.

    Args:
        filename: YAML; the files that it names as ``_BASE_`` come before it, and so on.

    Raises:
        UsageError, FileNotFoundError: see :meth:`SafeCfgNode.load_yaml_with_base`.
    """
    for count, layer in enumerate(_layers(filename, ()), start=1):
        if count > MAX_BASES:
            raise UsageError(f"config file {filename} is made of more than {MAX_BASES} files by {BASE}")
        yield layer


def _layers(filename: str, inheritors: tuple[str, ...]) -> Iterator[tuple[str, dict[str, Any]]]:
    """The files, where the absolute paths of ``inheritors`` lead to this one."""
    if len(inheritors) > MAX_BASE_DEPTH:
        raise UsageError(
            f"config file {inheritors[0]} leads to more than {MAX_BASE_DEPTH} files, each the {BASE} of the "
            "one before"
        )
    content = _read(filename)
    if BASE in content:
        given = content.pop(BASE)
        bases = given if isinstance(given, list) else [given]
        if not bases or not all(isinstance(base, str) and base for base in bases):
            raise UsageError(
                f"config file {filename}: {BASE} must name a file or a list of files, not {given!r}"
            )
        inheritors = (*inheritors, os.path.abspath(filename))
        for base in bases:
            path = os.path.expanduser(base) if base.startswith("~") else base
            if not path.startswith(("/", "https://", "http://")):
                path = os.path.join(os.path.dirname(filename), path)
            if os.path.abspath(path) in inheritors:
                raise UsageError(f"config file {filename}: {BASE} {base} leads back to the file itself")
            yield from _layers(path, inheritors)
    yield filename, content


def _read(filename: str) -> dict[str, Any]:
    if os.path.exists(filename) and not os.path.isfile(filename):
        kind = "a folder" if os.path.isdir(filename) else "no regular file"
        raise UsageError(f"config file {filename} is {kind}")
    try:
        with PathManager.open(filename, "r") as file:
            content = load_yaml(file.read(MAX_CHARACTERS + 1))
    except ValueError as error:  # bytes that are no text, too
        raise UsageError(f"config file {filename} must be YAML of keys and values: {error}") from error
    if not isinstance(content, dict):
        raise UsageError(
            f"config file {filename} must be YAML of keys and values, not {type(content).__name__}"
        )
    return content


def _merge(new: Mapping, into: dict, source: str) -> None:
    for key, value in new.items():
        if isinstance(value, dict) and key in into:
            if not isinstance(into[key], dict):
                raise UsageError(f"config file {source}: {key} is a section here, and a value in its {BASE}")
            _merge(value, into[key], source)
        else:
            into[key] = value


def _current(cfg: CfgNode, key: str) -> Any:
    return reduce(lambda node, part: getattr(node, part, None), str(key).split("."), cfg)


def _is_number(value: Any) -> bool:
    """Whether a value, or what Python reads in a text, is a number."""
    if isinstance(value, str):
        try:
            value = ast.literal_eval(value)
        except (ValueError, SyntaxError, RecursionError, MemoryError, TypeError):
            return False
    return isinstance(value, (int, float)) and not isinstance(value, bool)


def _quote_numbers(new: CfgNode, known: CfgNode) -> None:
    """Quotes the numbers for keys that hold text, because yacs evaluates text as literals."""
    for key, value in new.items():
        if isinstance(value, CfgNode) and isinstance(known.get(key), CfgNode):
            _quote_numbers(value, known[key])
        elif isinstance(known.get(key), str) and _is_number(value):
            new[key] = repr(str(value))
