"""Trains a configuration with several values of its keys, and tables the metrics.

    python tools/sweep.py --config-file configs/fcpose/R_50_1x.yaml --output output/sweep \\
        --grid SOLVER.BASE_LR 0.005 0.01 0.02 --grid MODEL.FCPOSE.DEPTH 2 3 -- SOLVER.IMS_PER_BATCH 8
    python tools/sweep.py --config-file configs/fcpose/R_50_1x.yaml --output output/search --trials 40 \\
        --search SOLVER.BASE_LR log 0.001 0.1 --search MODEL.FCPOSE.DEPTH int 2 4 -- TEST.EVAL_PERIOD 5000

With --grid every combination is a training; with --search Optuna chooses the values, and ends trainings early
whose evaluations fall behind. Each training has its folder below --output; KEY VALUE pairs after the -- are
for all of them. They run one after the other, --jobs N of them at once, or with --slurm in Slurm's queue.
Started again, the tool skips the trainings that are done and continues the interrupted ones. --print prints
the commands of a grid instead, one per line; --collect only writes the tables. results.md and results.csv in
--output have a row for each training, sorted by a metric with --sort-by. With --grid SEED 0 1 2 and --average
SEED there are averages.md and averages.csv too, with means and standard deviations over the seeds.
"""

import argparse
import sys
from pathlib import Path

from posecore.engine.command_line import (
    add_run_options,
    check_output_folder,
    positive,
    run_tool,
    slurm_parameters,
)
from posecore.engine.runs import Execution, start_runs
from posecore.engine.search import (
    PRUNERS,
    SAMPLERS,
    SearchSettings,
    open_study,
    parse_spaces,
    start_search,
    write_search_tables,
)
from posecore.engine.sweeps import check_average, parse_grid, sweep_runs, write_averages, write_tables
from posecore.engine.unread_keys import log_unread_sweep_keys


def main() -> int:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--config-file", type=Path, required=True, help="the configuration that is varied")
    parser.add_argument("--output", type=Path, required=True, help="folder of the runs and the tables")
    varied = parser.add_mutually_exclusive_group(required=True)
    for option, values, text in (
        ("--grid", "VALUE", "a key and its values; several times for their combinations"),
        (
            "--search",
            "SPACE",
            "a key and its values: `log LOW HIGH`, `uniform LOW HIGH`, `int LOW HIGH`, `choice A B ...`",
        ),
    ):
        varied.add_argument(option, nargs="+", action="append", metavar=("KEY", values), help=text)
    parser.add_argument("--trials", type=positive, default=20, help="trials of a search in all (20)")
    parser.add_argument("--metric", default="keypoints/AP", help="that a search maximizes (keypoints/AP)")
    parser.add_argument("--sampler", choices=SAMPLERS, default="tpe", help="of a search (tpe)")
    parser.add_argument("--pruner", choices=PRUNERS, default="median", help="of a search (median)")
    parser.add_argument("--sampler-seed", type=int, default=0, help="of the sampler (0)")
    parser.add_argument(
        "--collect", action="store_true", help="start nothing, write the tables of what is there"
    )
    parser.add_argument(
        "--sort-by", metavar="METRIC", help="such as AP or PCK@0.2: sort the tables, the greatest first"
    )
    parser.add_argument(
        "--average", metavar="KEY", help="a key of --grid, such as SEED: table the means over its values too"
    )
    add_run_options(parser)
    parser.add_argument("opts", nargs="*", help="after --: KEY VALUE pairs for all runs")
    options = parser.parse_args()
    if options.search and options.print:
        parser.error("--print needs --grid: a search chooses its values one after the other")
    if options.search and options.average:
        parser.error("--average needs --grid: the trials of a search have no common values")
    execution = Execution(
        launcher=options.launcher,
        num_gpus=options.num_gpus,
        eval_only=options.eval_only,
        jobs=options.jobs,
        slurm=slurm_parameters(options),
    )
    return search(options, execution) if options.search else sweep(options, execution)


def sweep(options: argparse.Namespace, execution: Execution) -> int:
    grid = parse_grid(options.grid)
    if options.average is not None:
        check_average(grid, options.average)
    runs = sweep_runs(options.config_file, grid, output=options.output, overrides=options.opts)
    check_output_folder(options.output)
    failed: list[str] = []
    if not options.collect:
        log_unread_sweep_keys(options.config_file, grid, options.opts)
        failed = start_runs(runs, execution, print_only=options.print)
    if not options.print:
        print(write_tables(runs, grid, options.output, options.sort_by))
        if options.average is not None:
            print(write_averages(runs, grid, options.output, over=options.average))
    return report(failed)


def search(options: argparse.Namespace, execution: Execution) -> int:
    settings = SearchSettings(
        options.config_file, tuple(options.opts), tuple(parse_spaces(options.search)), options.metric
    )
    check_output_folder(options.output)
    study = open_study(
        options.output,
        settings,
        sampler=options.sampler,
        pruner=options.pruner,
        seed=options.sampler_seed,
    )
    failed: list[str] = []
    if not options.collect:
        ends = {space.key: space.ends for space in settings.spaces}
        log_unread_sweep_keys(settings.config_file, ends, settings.overrides)
        failed = start_search(study, settings, execution, output=options.output, trials=options.trials)
    print(write_search_tables(study, settings, options.output))
    return report(failed)


def report(failed: list[str]) -> int:
    """Names the runs that failed, and returns the exit status."""
    if failed:
        print(f"sweep.py: failed: {', '.join(failed)}", file=sys.stderr)
    return 1 if failed else 0


if __name__ == "__main__":
    run_tool(main, "sweep.py")
