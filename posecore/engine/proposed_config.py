"""A configuration with the reason of each value, and its YAML: :class:`ProposedConfig`."""

import json
import textwrap
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any


@dataclass
class ProposedConfig:
    """A configuration with reasons.

    Attributes:
        base: the file that it extends.
        head: what it is for, a comment of some lines.
        values: key -> (value, reason), in the order in which they are written.
    """

    base: str
    head: tuple[str, ...]
    values: dict[str, tuple[Any, str]] = field(default_factory=dict)

    def set(self, key: str, value: Any, reason: str) -> None:
        """Sets a key, and says why it has this value."""
        self.values[key] = value, reason

    def text(self) -> str:
        """The configuration as YAML with comments."""
        lines = [*(f"# {line}" for line in self.head), f"_BASE_: {json.dumps(self.base)}", "VERSION: 2"]
        tree: dict[str, Any] = {}
        for key, value in self.values.items():
            node = tree
            *sections, last = key.split(".")
            for section in sections:
                node = node.setdefault(section, {})
            node[last] = value
        return "\n".join([*lines, *_yaml_lines(tree, "")]) + "\n"


def _yaml_lines(tree: Mapping[str, Any], indent: str) -> list[str]:
    lines = []
    for key, value in tree.items():
        if isinstance(value, dict):
            lines += [f"{indent}{key}:", *_yaml_lines(value, f"{indent}  ")]
        else:
            number, reason = value
            sentence = f"{reason[:1].upper()}{reason[1:]}."
            lines += textwrap.wrap(
                sentence,
                110,
                initial_indent=f"{indent}# ",
                subsequent_indent=f"{indent}# ",
                break_long_words=False,
            )
            lines.append(f"{indent}{key}: {_yaml_value(number)}")
    return lines


def _yaml_value(value: Any) -> str:
    """A value as configuration files have it: tuples in brackets, text in quotes."""
    if isinstance(value, tuple | list):
        return f"[{', '.join(map(_yaml_value, value))}]"
    if isinstance(value, float):
        text = repr(value)
        # YAML takes 1e-05 for text.
        return text if "e" not in text else f"{value:.10f}".rstrip("0")
    return json.dumps(value) if isinstance(value, str) else str(value)
