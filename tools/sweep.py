"""Trains a configuration with every combination of some values, and tables the metrics.

    python tools/sweep.py --config-file configs/fcpose/R_50_1x.yaml --output output/sweep \\
        --grid SOLVER.BASE_LR 0.005 0.01 0.02 --grid MODEL.FCPOSE.DEPTH 2 3 -- SOLVER.IMS_PER_BATCH 8

Six trainings, one after the other, each in its folder below --output; KEY VALUE pairs after the -- are for
all of them. Started again, it skips the trainings that are done and continues an interrupted one. --print
prints the commands instead, one per line, for Slurm or another queue; --collect only writes the tables.
results.md and results.csv in --output have a row for each training, sorted by a metric with --sort-by.
"""

import argparse
import sys
from pathlib import Path

from posecore.engine.command_line import add_run_options, check_output_folder, run_tool
from posecore.engine.runs import start_runs
from posecore.engine.sweeps import parse_grid, sweep_runs, write_tables


def main() -> int:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--config-file", type=Path, required=True, help="the configuration that is varied")
    parser.add_argument("--output", type=Path, required=True, help="folder of the runs and the tables")
    parser.add_argument(
        "--grid",
        nargs="+",
        action="append",
        required=True,
        metavar=("KEY", "VALUE"),
        help="a key and its values; several times for their combinations",
    )
    parser.add_argument(
        "--collect", action="store_true", help="start nothing, write the tables of what is there"
    )
    parser.add_argument(
        "--sort-by", metavar="METRIC", help="such as AP or PCK@0.2: sort the tables, the greatest first"
    )
    add_run_options(parser)
    parser.add_argument("opts", nargs="*", help="after --: KEY VALUE pairs for all runs")
    options = parser.parse_args()
    grid = parse_grid(options.grid)
    runs = sweep_runs(options.config_file, grid, output=options.output, overrides=options.opts)
    check_output_folder(options.output)
    failed = []
    if not options.collect:
        failed = start_runs(
            runs,
            launcher=options.launcher,
            num_gpus=options.num_gpus,
            eval_only=options.eval_only,
            print_only=options.print,
        )
    if failed:
        print(f"sweep.py: failed: {', '.join(failed)}", file=sys.stderr)
    if not options.print:
        print(write_tables(runs, grid, options.output, options.sort_by))
    return 1 if failed else 0


if __name__ == "__main__":
    run_tool(main, "sweep.py")
