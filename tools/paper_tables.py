"""The papers' tables: lists their rows, trains them, and sets our metrics beside the papers' figures.

    python tools/paper_tables.py list                                 all rows, with the papers' figures
    python tools/paper_tables.py run --num-gpus 8 'fcpose/table-4/*'  trains these, skipping what is done
    python tools/paper_tables.py run --print 'inspose/*'              prints the commands instead
    python tools/paper_tables.py check --shard 1/8                    trains and uses each once, on the CPU
    python tools/paper_tables.py collect > tables.md                  our metrics (the paper's in brackets)

A row is called method/table/row; quoted patterns with * choose several. KEY VALUE pairs at the end override
the rows' own. Each row has its folder, below --output; an interrupted training is continued.
configs/paper/tables.yaml holds the rows.
"""

import argparse
import sys
from pathlib import Path

from posecore.benchmarks.paper_check import check_rows, check_table, shard
from posecore.engine.command_line import (
    add_run_options,
    check_output_file,
    check_output_folder,
    run_tool,
    slurm_parameters,
)
from posecore.engine.paper_tables import choose_rows, comparison_tables
from posecore.engine.runs import Execution, start_runs


def print_list(options: argparse.Namespace) -> int:
    for row in choose_rows(options.rows):
        print(row.describe())
    return 0


def run(options: argparse.Namespace) -> int:
    check_output_folder(options.output)
    failed = start_runs(
        [row.run(options.output, options.opts) for row in choose_rows(options.rows)],
        execution(options),
        print_only=options.print,
    )
    if failed:
        print(f"paper_tables.py: failed: {', '.join(failed)}", file=sys.stderr)
    return 1 if failed else 0


def execution(options: argparse.Namespace) -> Execution:
    return Execution(
        launcher=options.launcher,
        num_gpus=options.num_gpus,
        eval_only=options.eval_only,
        jobs=options.jobs,
        slurm=slurm_parameters(options),
    )


def collect(options: argparse.Namespace) -> int:
    for table in comparison_tables(choose_rows(options.rows), options.output):
        print(table)
    return 0


def check(options: argparse.Namespace) -> int:
    rows = choose_rows(options.rows)
    rows = shard(rows, options.shard)
    if options.output is not None:
        check_output_file(options.output)
    checks = []
    for number, result in enumerate(check_rows(rows), start=1):
        checks.append(result)
        state = result.error or "; ".join(result.remarks()) or "ok"
        print(f"{number} of {len(rows)}: {result.name}: {state} ({result.seconds:.1f} s)", flush=True)
        if options.output is not None:
            options.output.write_text(f"{check_table(checks)}\n")
    failed = [result.name for result in checks if result.error]
    if failed:
        print(f"paper_tables.py: failed: {', '.join(failed)}", file=sys.stderr)
    return 1 if failed else 0


def main() -> int:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    commands = parser.add_subparsers(required=True, metavar="COMMAND")
    functions = {"list": print_list, "run": run, "check": check, "collect": collect}
    for name, function in functions.items():
        command = commands.add_parser(name)
        command.set_defaults(function=function)
        if function in (run, collect):
            command.add_argument(
                "--output", type=Path, default=Path("output/paper"), help="folder of the runs (output/paper)"
            )
        if function is check:
            command.add_argument("--output", type=Path, help="file of a table in Markdown, to be written")
            command.add_argument("--shard", default="1/1", metavar="I/N", help="the I-th of N shares (1/1)")
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
