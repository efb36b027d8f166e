"""The papers' tables: lists their rows, trains them, and sets our metrics beside the papers' figures.

    python tools/paper_tables.py list                                 all rows, with the papers' figures
    python tools/paper_tables.py run --num-gpus 8 'fcpose/table-4/*'  trains these, skipping what is done
    python tools/paper_tables.py run --print 'inspose/*'              prints the commands instead
    python tools/paper_tables.py collect > tables.md                  our metrics (the paper's in brackets)

A row is called method/table/row; quoted patterns with * choose several. KEY VALUE pairs at the end override
the rows' own. Each row has its folder, below --output; an interrupted training is continued.
configs/paper/tables.yaml holds the rows.
"""

import argparse
import sys
from pathlib import Path

from posecore.engine.command_line import add_run_options, check_output_folder, run_tool
from posecore.engine.paper_tables import choose_rows, comparison_tables
from posecore.engine.runs import start_runs


def print_list(options: argparse.Namespace) -> int:
    for row in choose_rows(options.rows):
        print(row.describe())
    return 0


def run(options: argparse.Namespace) -> int:
    check_output_folder(options.output)
    failed = start_runs(
        [row.run(options.output, options.opts) for row in choose_rows(options.rows)],
        launcher=options.launcher,
        num_gpus=options.num_gpus,
        eval_only=options.eval_only,
        print_only=options.print,
    )
    if failed:
        print(f"paper_tables.py: failed: {', '.join(failed)}", file=sys.stderr)
    return 1 if failed else 0


def collect(options: argparse.Namespace) -> int:
    for table in comparison_tables(choose_rows(options.rows), options.output):
        print(table)
    return 0


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
            add_run_options(command)
            command.add_argument("rows", help="name or pattern of the rows")
            command.add_argument("opts", nargs=argparse.REMAINDER, help="KEY VALUE pairs for all of them")
        else:
            command.add_argument("rows", nargs="?", default="*", help="name or pattern of the rows (all)")
    options = parser.parse_args()
    return options.function(options)


if __name__ == "__main__":
    run_tool(main, "paper_tables.py")
