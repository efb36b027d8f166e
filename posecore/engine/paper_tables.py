"""The papers' tables: a :class:`TableRow` is a configuration beside the figures that the paper gives for it.

configs/paper/tables.yaml holds the rows. Each becomes a run (:mod:`posecore.engine.run`);
:func:`comparison_tables` sets the metrics of the runs beside the papers' figures.
"""

import re
import shlex
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from fnmatch import fnmatch
from itertools import groupby
from pathlib import Path

import yaml

from posecore.config.merge import UsageError
from posecore.config.repository import CONFIGS
from posecore.engine.markdown import markdown_table
from posecore.engine.run import Run


@dataclass(frozen=True)
class TableRow:
    """A row of a paper's table.

    Attributes:
        name: method/table/row, of small letters, digits and hyphens.
        title: of the table.
        label: of the row, as the paper has it.
        config_file: the configuration.
        overrides: KEY VALUE pairs, flat.
        paper: the paper's figures by metric.
    """

    name: str
    title: str
    label: str
    config_file: Path
    overrides: tuple[str, ...]
    paper: dict[str, float]

    def run(self, output: Path, overrides: Sequence[str] = ()) -> Run:
        """The row as a run in its folder below ``output``; ``overrides`` come after its own."""
        return Run(self.name, self.config_file, (*self.overrides, *overrides), output / self.name)

    def describe(self, configs: Path = CONFIGS) -> str:
        """The row in one line: its name, configuration below ``configs``, overrides and figures."""
        figures = " ".join(f"{metric} {value}" for metric, value in self.paper.items())
        config = str(self.config_file.relative_to(configs))
        return f"{self.name}  {shlex.join([config, *self.overrides])}  ({figures})"


def read_rows(configs: Path = CONFIGS) -> Iterator[TableRow]:
    """All rows of paper/tables.yaml in a folder of configurations, in their order."""
    for method, tables in yaml.safe_load((configs / "paper" / "tables.yaml").read_text()).items():
        for table in tables:
            for row in table["rows"]:
                yield TableRow(
                    name="/".join(map(_slug, (method, table["table"], row["row"]))),
                    title=f"{method}, {table['table']}: {table['what']}",
                    label=row["row"],
                    config_file=configs / row["config"],
                    overrides=tuple(map(str, row["overrides"])),
                    paper=row["paper"],
                )


def choose_rows(pattern: str, configs: Path = CONFIGS) -> list[TableRow]:
    """The rows whose names fit a pattern with ``*``, as file names do.

    Raises:
        UsageError: no row's name fits.
    """
    rows = [row for row in read_rows(configs) if fnmatch(row.name, pattern)]
    if not rows:
        raise UsageError(f"no row is called {pattern!r}; `paper_tables.py list` prints their names")
    return rows


def comparison_tables(rows: Iterable[TableRow], output: Path) -> Iterator[str]:
    """A section in Markdown for each table of the papers: our metrics, the paper's in brackets.

    Args:
        rows: those of one table in a row.
        output: folder of the runs; a run that is not done has "-" for its metrics.

    Raises:
        UsageError: no run is done.
    """
    rows = list(rows)
    if all(row.run(output).metrics() is None for row in rows):
        raise UsageError(f"none of the {len(rows)} rows has a finished run below {output}")
    for title, group in groupby(rows, key=lambda row: row.title):
        table = list(group)
        columns = list(dict.fromkeys(metric for row in table for metric in row.paper))
        lines = []
        for row in table:
            metrics = row.run(output).metrics() or {}
            lines.append([row.label, *(_cell(metrics.get(name), row.paper.get(name)) for name in columns)])
        yield f"### {title}\n\n{markdown_table(['', *columns], lines)}\n"


def _cell(measured: float | None, paper: float | None) -> str:
    ours = "-" if measured is None else f"{measured:.1f}"
    return ours if paper is None else f"{ours} ({paper})"


def _slug(text: str) -> str:
    return re.sub(r"[^a-z0-9]+", "-", text.lower()).strip("-")
