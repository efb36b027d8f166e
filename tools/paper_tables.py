"""The papers' tables: lists their rows, trains them, and sets what came out beside the papers' figures.

    python tools/paper_tables.py list                                 all rows, with the papers' figures
    python tools/paper_tables.py run --num-gpus 8 'fcpose/table-4/*'  trains these, skipping what is done
    python tools/paper_tables.py run --print 'inspose/*'              prints the commands instead
    python tools/paper_tables.py collect > tables.md                  what came out (the paper's in brackets)

A row is called method/table/row; quoted patterns with * choose several. KEY VALUE pairs at the end override
the rows' own. Each row has its folder, below --output; one that was interrupted goes on where it was.
configs/paper/tables.yaml holds the rows.
"""

import argparse
import re
import shlex
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from fnmatch import fnmatch
from itertools import groupby
from pathlib import Path

import yaml

from posecore.config.merge import UsageError
from runs import Run, add_launch_options, markdown, start

CONFIGS = Path(__file__).resolve().parents[1] / "configs"


@dataclass(frozen=True)
class Row:
    """A row of a paper's table.

    Attributes:
        name: method/table/row, of small letters, digits and hyphens.
        title: of the table.
        label: of the row, as the paper has it.
        config: below configs/.
        overrides: KEY VALUE pairs, flat.
        paper: the paper's figures by metric.
    """

    name: str
    title: str
    label: str
    config: str
    overrides: tuple[str, ...]
    paper: dict[str, float]


def read_rows() -> Iterator[Row]:
    """All rows of configs/paper/tables.yaml, in their order."""
    for method, tables in yaml.safe_load((CONFIGS / "paper" / "tables.yaml").read_text()).items():
        for table in tables:
            for row in table["rows"]:
                yield Row(
                    name="/".join(map(_slug, (method, table["table"], row["row"]))),
                    title=f"{method}, {table['table']}: {table['what']}",
                    label=row["row"],
                    config=row["config"],
                    overrides=tuple(map(str, row["overrides"])),
                    paper=row["paper"],
                )


def choose(pattern: str) -> list[Row]:
    """
    Raises:
        UsageError: no row's name fits the pattern.
    """
    rows = [row for row in read_rows() if fnmatch(row.name, pattern)]
    if not rows:
        raise UsageError(f"no row is called {pattern!r}; `paper_tables.py list` prints their names")
    return rows


def as_run(row: Row, output: Path, overrides: list[str]) -> Run:
    return Run(row.name, CONFIGS / row.config, (*row.overrides, *overrides), output / row.name)


def print_list(options: argparse.Namespace) -> int:
    for row in choose(options.rows):
        figures = " ".join(f"{metric} {value}" for metric, value in row.paper.items())
        print(f"{row.name}  {shlex.join([row.config, *row.overrides])}  ({figures})")
    return 0


def run(options: argparse.Namespace) -> int:
    runs = [as_run(row, options.output, options.opts) for row in choose(options.rows)]
    if failed := start(runs, options):
        print(f"paper_tables.py: failed: {', '.join(failed)}", file=sys.stderr)
    return 1 if failed else 0


def collect(options: argparse.Namespace) -> int:
    for title, rows in groupby(choose(options.rows), key=lambda row: row.title):
        table = list(rows)
        columns = list(dict.fromkeys(metric for row in table for metric in row.paper))
        lines = []
        for row in table:
            found = as_run(row, options.output, []).metrics() or {}
            lines.append([row.label, *(_cell(found.get(name), row.paper.get(name)) for name in columns)])
        print(f"### {title}\n\n{markdown(['', *columns], lines)}\n")
    return 0


def _cell(found: float | None, paper: float | None) -> str:
    ours = "-" if found is None else f"{found:.1f}"
    return ours if paper is None else f"{ours} ({paper})"


def _slug(text: str) -> str:
    return re.sub(r"[^a-z0-9]+", "-", text.lower()).strip("-")


def main() -> int:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    commands = parser.add_subparsers(required=True, metavar="COMMAND")
    for name, function in (("list", print_list), ("run", run), ("collect", collect)):
        command = commands.add_parser(name)
        command.set_defaults(function=function)
        if function is not print_list:
            command.add_argument(
                "--output", type=Path, default=Path("output/paper"), help="folder of the runs (output/paper)"
            )
        if function is run:
            add_launch_options(command)
            command.add_argument("rows", help="name or pattern of the rows")
            command.add_argument("opts", nargs=argparse.REMAINDER, help="KEY VALUE pairs for all of them")
        else:
            command.add_argument("rows", nargs="?", default="*", help="name or pattern of the rows (all)")
    options = parser.parse_args()
    return options.function(options)


if __name__ == "__main__":
    try:
        sys.exit(main())
    except UsageError as error:
        sys.exit(f"paper_tables.py: {error}")
