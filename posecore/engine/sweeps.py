"""Sweeps: runs of one configuration with every combination of some values, and tables of their metrics.

:func:`sweep_runs` makes the runs, :func:`write_tables` a row for each, and :func:`write_averages` means over
seeds.

A grid is a mapping from config keys to the values that each takes. Combinations come in the order of
``itertools.product``: the last key's values change fastest.
"""

import csv
import itertools
import math
import statistics
from collections.abc import Mapping, Sequence
from pathlib import Path

from posecore.config.merge import UsageError
from posecore.engine.markdown import markdown_table
from posecore.engine.run import Run

Grid = Mapping[str, Sequence[str]]


def parse_grid(arguments: Sequence[Sequence[str]]) -> Grid:
    """The grid of a command line.

    Args:
        arguments: a key and its values each.

    Raises:
        UsageError: there is no key, a key has no values or a value twice, or a key comes twice.
    """
    if not arguments:
        raise UsageError("--grid needs a key and its values: there is nothing to run")
    keys = [key for key, *_ in arguments]
    for key, *values in arguments:
        if not values or len(set(values)) < len(values) or keys.count(key) > 1:
            raise UsageError(f"--grid {key} must stand there once and have different values")
    return {key: values for key, *values in arguments}


def check_average(grid: Grid, key: str) -> None:
    """Raises UsageError where the grid does not have the key whose values are to be averaged."""
    if key not in grid:
        raise UsageError(f"--average {key}: the key must be one of --grid: {', '.join(grid)}")


def sweep_runs(config_file: Path, grid: Grid, *, output: Path, overrides: Sequence[str] = ()) -> list[Run]:
    """A run for each combination, in a folder named after it.

    Args:
        config_file: the configuration that is varied.
        grid: what varies.
        output: the folder of the runs' folders.
        overrides: KEY VALUE pairs of all runs, flat.

    Raises:
        UsageError: two combinations would share a folder.
    """
    runs: list[Run] = []
    for values in itertools.product(*grid.values()):
        pairs = list(zip(grid, values, strict=True))
        name = ",".join(f"{key}={value}" for key, value in pairs).replace("/", "_")
        if any(name == run.name for run in runs):  # a/b and a_b
            raise UsageError(f"--grid: two combinations would share the folder {output / name}")
        runs.append(
            Run(name, config_file, (*overrides, *itertools.chain.from_iterable(pairs)), output / name)
        )
    return runs


def write_tables(runs: Sequence[Run], grid: Grid, folder: Path, sort_by: str | None = None) -> str:
    """Writes results.md and results.csv with a row for each run; runs that are not done have no metrics.

    Args:
        runs: those of :func:`sweep_runs` with the same grid.
        grid: the first columns.
        folder: where the files go; made if it is not there.
        sort_by: the name of a metric by which the rows are sorted, the greatest first, runs without it last;
            None for the order of the grid.

    Returns:
        The table of results.md.

    Raises:
        UsageError: no run is done, or none has the metric; then nothing is written.
    """
    if all(run.metrics() is None for run in runs):
        raise UsageError(
            f"none of the {len(runs)} runs below {folder} is done: there are no metrics to table"
        )
    results = [run.metrics() or {} for run in runs]
    metrics = list(dict.fromkeys(name for result in results for name in result))
    if sort_by is not None and sort_by not in metrics:
        raise UsageError(f"no run has a metric '{sort_by}' to sort by; there are {', '.join(metrics)}")
    columns = [*grid, *metrics]
    pairs = list(zip(itertools.product(*grid.values()), results, strict=True))
    if sort_by is not None:
        pairs.sort(key=lambda pair: -pair[1].get(sort_by, -math.inf))
    rows = [
        [*values, *(f"{result[name]:.4g}" if name in result else "-" for name in metrics)]
        for values, result in pairs
    ]
    return write_rows(columns, rows, folder)


def write_averages(runs: Sequence[Run], grid: Grid, folder: Path, *, over: str) -> str:
    """Writes averages.md and averages.csv: means over the values of one key, which is SEED as a rule.

    The rows are the combinations of the other keys, in the order of the grid. A column says how many runs are
    done; of two or more, the sample standard deviation stands behind the mean, in averages.csv in a column of
    its own.

    Args:
        runs: those of :func:`sweep_runs` with the same grid, one of them done at least.
        grid: what varies.
        folder: where the files go.
        over: the key whose values are averaged.

    Returns:
        The table of averages.md.

    Raises:
        UsageError: the grid does not have the key.
    """
    check_average(grid, over)
    kept = [key for key in grid if key != over]
    groups: dict[tuple[str, ...], list[Mapping[str, float]]] = {}
    for values, run in zip(itertools.product(*grid.values()), runs, strict=True):
        group = tuple(value for key, value in zip(grid, values, strict=True) if key != over)
        metrics = run.metrics()
        groups.setdefault(group, []).extend([] if metrics is None else [metrics])
    names = list(dict.fromkeys(name for done in groups.values() for metrics in done for name in metrics))
    table, sheet = [], []
    for group, done in groups.items():
        samples = [[metrics[name] for metrics in done if name in metrics] for name in names]
        means = [f"{statistics.fmean(sample):.4g}" if sample else "-" for sample in samples]
        spreads = [f"{statistics.stdev(sample):.2g}" if len(sample) > 1 else "" for sample in samples]
        start = [*group, str(len(done))]
        table.append([*start, *(f"{m} ± {s}" if s else m for m, s in zip(means, spreads, strict=True))])
        sheet.append([*start, *itertools.chain.from_iterable(zip(means, spreads, strict=True))])
    markdown = markdown_table([*kept, "runs", *names], table)
    (folder / "averages.md").write_text(f"{markdown}\n")
    columns = itertools.chain.from_iterable((name, f"{name} std") for name in names)
    with (folder / "averages.csv").open("w", newline="") as file:
        csv.writer(file).writerows([[*kept, "runs", *columns], *sheet])
    return markdown


def write_rows(columns: Sequence[str], rows: Sequence[Sequence[str]], folder: Path) -> str:
    """Writes a table as results.md and results.csv in a folder, and returns it in Markdown."""
    table = markdown_table(columns, rows)
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "results.md").write_text(f"{table}\n")
    with (folder / "results.csv").open("w", newline="") as file:
        csv.writer(file).writerows([columns, *rows])
    return table
