"""Trains a configuration with every combination of some values, and tables what comes out.

    python tools/sweep.py --config-file configs/fcpose/R_50_1x.yaml --output output/sweep \\
        --grid SOLVER.BASE_LR 0.005 0.01 0.02 --grid MODEL.FCPOSE.DEPTH 2 3 -- SOLVER.IMS_PER_BATCH 8

Six trainings, one after the other, each in its folder below --output; behind the -- stands what they share.
Started again it skips those that are done and goes on with one that was interrupted. --print prints the
commands instead, one per line, for Slurm or another queue; --collect only tables what is there.
results.md and results.csv in --output have a row for each.
"""

import argparse
import csv
import itertools
import sys
from collections.abc import Sequence
from pathlib import Path

from posecore.config.merge import UsageError
from runs import Run, add_launch_options, markdown, start


def parse() -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--config-file", type=Path, required=True, help="what is varied")
    parser.add_argument("--output", type=Path, required=True, help="folder of the runs and the tables")
    parser.add_argument(
        "--grid",
        nargs="+",
        action="append",
        required=True,
        metavar=("KEY", "VALUE"),
        help="a key and its values; several times for their combinations",
    )
    parser.add_argument("--collect", action="store_true", help="start nothing, table what is there")
    add_launch_options(parser)
    parser.add_argument("opts", nargs="*", help="behind --: KEY VALUE pairs for all runs")
    return parser.parse_args()


def build_runs(options: argparse.Namespace) -> list[Run]:
    """One per combination, the last key's values changing fastest.

    Raises:
        UsageError: a key without values, or one or a value that comes twice.
    """
    keys = [key for key, *_ in options.grid]
    for key, *values in options.grid:
        if not values or len(set(values)) < len(values) or keys.count(key) > 1:
            raise UsageError(f"--grid {key} must stand there once and have different values")
    runs = []
    for values in itertools.product(*(values for _, *values in options.grid)):
        name = ",".join(f"{key}={value}" for key, value in zip(keys, values, strict=True)).replace("/", "_")
        pairs = itertools.chain.from_iterable(zip(keys, values, strict=True))
        runs.append(Run(name, options.config_file, (*options.opts, *pairs), options.output / name))
    return runs


def write_tables(runs: Sequence[Run], grid: Sequence[Sequence[str]], folder: Path) -> str:
    """results.md and results.csv; returns the former. Runs that are not done have no metrics."""
    keys = [key for key, *_ in grid]
    results = [run.metrics() or {} for run in runs]
    metrics = list(dict.fromkeys(name for result in results for name in result))
    rows = [
        [*values, *(f"{result[name]:.4g}" if name in result else "-" for name in metrics)]
        for values, result in zip(itertools.product(*(v for _, *v in grid)), results, strict=True)
    ]
    table = markdown([*keys, *metrics], rows)
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "results.md").write_text(f"{table}\n")
    with (folder / "results.csv").open("w", newline="") as file:
        csv.writer(file).writerows([[*keys, *metrics], *rows])
    return table


def main() -> int:
    options = parse()
    runs = build_runs(options)
    failed = [] if options.collect else start(runs, options)
    if not options.print:
        print(write_tables(runs, options.grid, options.output))
    if failed:
        print(f"sweep.py: failed: {', '.join(failed)}", file=sys.stderr)
    return 1 if failed else 0


if __name__ == "__main__":
    try:
        sys.exit(main())
    except UsageError as error:
        sys.exit(f"sweep.py: {error}")
