"""Tables in Markdown."""

from collections.abc import Iterable


def markdown_table(columns: Iterable[str], rows: Iterable[Iterable[str]]) -> str:
    """A table with a line of column names; every row has a cell for each column."""
    lines = [list(columns), *map(list, rows)]
    lines.insert(1, ["---"] * len(lines[0]))
    return "\n".join(f"| {' | '.join(line)} |" for line in lines)
