"""Reads YAML that anybody may have written: :func:`load_yaml`.

Only plain values are made of it: a Python tag (``!!python/...``) runs nothing and is an error. A document is
refused before anything is built of it if it is nested too deeply, or if its aliases would make it too large.
"""

from typing import Any

import yaml

# Limits of one document. The largest configuration here has 5 levels and about 500 values.
MAX_CHARACTERS = 10_000_000
MAX_DEPTH = 50
MAX_VALUES = 200_000


class _PlainLoader(yaml.SafeLoader):
    """PyYAML's safe loader with limits on depth and on the number of values, aliases written out."""

    def __init__(self, text: str) -> None:
        super().__init__(text)
        self._depth = 0
        self._count = 0
        self._sizes: dict[int, int] = {}

    def compose_node(self, parent: yaml.Node | None, index: Any) -> yaml.Node | None:
        event = self.peek_event()
        mark = event.start_mark
        if isinstance(event, yaml.AliasEvent):
            node = super().compose_node(parent, index)
            if id(node) not in self._sizes:
                raise yaml.MarkedYAMLError(problem=f"*{event.anchor} stands in itself", problem_mark=mark)
            self._add(self._sizes[id(node)], mark)
            return node
        if self._depth >= MAX_DEPTH:
            problem = f"it is nested more than {MAX_DEPTH} levels deep"
            raise yaml.MarkedYAMLError(problem=problem, problem_mark=mark)
        before = self._count
        self._add(1, mark)
        self._depth += 1
        node = super().compose_node(parent, index)
        self._depth -= 1
        self._sizes[id(node)] = self._count - before
        return node

    def _add(self, count: int, mark: yaml.Mark) -> None:
        self._count += count
        if self._count > MAX_VALUES:
            problem = f"it has more than {MAX_VALUES:,} values when its aliases are written out"
            raise yaml.MarkedYAMLError(problem=problem, problem_mark=mark)


def load_yaml(text: str) -> Any:
    """The value of a YAML document, made of dicts, lists, text, numbers, booleans, dates, bytes and None.

    Raises:
        ValueError: it is no YAML, holds a tag that asks for anything else, is nested more than
            :data:`MAX_DEPTH` levels deep, or has more than :data:`MAX_VALUES` values; the message names the
            place.
    """
    if len(text) > MAX_CHARACTERS:
        raise ValueError(f"it has {len(text):,} characters; at most {MAX_CHARACTERS:,} are read")
    try:
        loader = _PlainLoader(text)
        try:
            return loader.get_single_data()
        finally:
            loader.dispose()
    except yaml.constructor.ConstructorError as error:
        problem = str(error.problem)
        if "could not determine a constructor for the tag" in problem:
            tag = problem.split("'")[1].replace("tag:yaml.org,2002:", "!!")
            problem = f"the tag {tag} is not read: only plain values are, and no code is run"
        raise ValueError(f"{problem}{_place(error.problem_mark)}") from error
    except yaml.MarkedYAMLError as error:
        raise ValueError(f"{error.problem or error.context}{_place(error.problem_mark)}") from error
    except (yaml.YAMLError, RecursionError) as error:
        raise ValueError(str(error)) from error
    # PyYAML's constructors raise these where a tag of a plain value stands at another one, as in `!!bool x`.
    except (LookupError, AttributeError, TypeError, ArithmeticError) as error:
        raise ValueError(f"a value does not fit its tag ({type(error).__name__}: {error})") from error


def _place(mark: yaml.Mark | None) -> str:
    return f" (line {mark.line + 1}, column {mark.column + 1})" if mark else ""
