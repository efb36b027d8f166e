"""Grids of sweeps and their tables."""

import csv
from pathlib import Path

import pytest

from posecore.config.merge import UsageError
from posecore.engine.results import write_results
from posecore.engine.sweeps import parse_grid, sweep_runs, write_averages, write_tables

GRID = {"SEED": ["1", "2"], "MODEL.DEVICE": ["cpu", "a/b"]}


@pytest.mark.parametrize("arguments", [[["SEED"]], [["SEED", "1", "1"]], [["SEED", "1"], ["SEED", "2"]]])
def test_a_grid_needs_keys_and_values_that_differ(arguments: list[list[str]]) -> None:
    with pytest.raises(UsageError, match="--grid SEED must stand there once and have different values"):
        parse_grid(arguments)


def test_a_grid_without_keys_is_nothing_to_run() -> None:
    with pytest.raises(UsageError, match="nothing to run"):
        parse_grid([])


def test_combinations_do_not_share_a_folder() -> None:
    with pytest.raises(UsageError, match=r"would share the folder out/KEY=a_b"):
        sweep_runs(Path("c.yaml"), {"KEY": ["a/b", "a_b"]}, output=Path("out"))


def test_tables_of_nothing_are_an_error(tmp_path: Path) -> None:
    runs = sweep_runs(Path("c.yaml"), {"SEED": ["1", "2"]}, output=tmp_path / "out")
    with pytest.raises(UsageError, match=r"none of the 2 runs below .*out is done"):
        write_tables(runs, {"SEED": ["1", "2"]}, tmp_path / "out")
    assert not (tmp_path / "out").exists()


def test_there_is_a_run_for_each_combination() -> None:
    grid = parse_grid([[key, *values] for key, values in GRID.items()])
    assert grid == GRID
    runs = sweep_runs(Path("c.yaml"), grid, output=Path("out"), overrides=["A", "0"])
    assert [run.name for run in runs] == [
        "SEED=1,MODEL.DEVICE=cpu",
        "SEED=1,MODEL.DEVICE=a_b",
        "SEED=2,MODEL.DEVICE=cpu",
        "SEED=2,MODEL.DEVICE=a_b",
    ]
    assert runs[1].overrides == ("A", "0", "SEED", "1", "MODEL.DEVICE", "a/b")
    assert runs[1].folder == Path("out") / runs[1].name


def test_tables_have_a_row_for_each_run(tmp_path: Path) -> None:
    runs = sweep_runs(Path("c.yaml"), {"SEED": ["1", "2"]}, output=tmp_path)
    runs[1].folder.mkdir()
    write_results(runs[1].folder, {"keypoints": {"AP": 12.345678}})
    table = write_tables(runs, {"SEED": ["1", "2"]}, tmp_path)
    assert table.splitlines() == ["| SEED | AP |", "| --- | --- |", "| 1 | - |", "| 2 | 12.35 |"]
    assert (tmp_path / "results.md").read_text() == f"{table}\n"
    with (tmp_path / "results.csv").open() as file:
        assert list(csv.reader(file)) == [["SEED", "AP"], ["1", "-"], ["2", "12.35"]]


def test_tables_sorted_by_a_metric(tmp_path: Path) -> None:
    grid = {"SEED": ["1", "2", "3", "4"]}
    runs = sweep_runs(Path("c.yaml"), grid, output=tmp_path)
    tables = [
        {"pck": {"PCK@0.2": 60.0, "neck": 90.0}, "keypoints": {"AP": 30.0}},
        None,
        {"pck": {"PCK@0.2": 70.5, "neck": 80.0}, "keypoints": {"AP": 20.0}},
        {"keypoints": {"AP": 99.0}},
    ]
    for run, metrics in zip(runs, tables, strict=True):
        if metrics is not None:
            run.folder.mkdir()
            write_results(run.folder, metrics)
    for sort_by, order in ((None, "1234"), ("PCK@0.2", "3124"), ("neck", "1324"), ("AP", "4132")):
        header, _, *rows = write_tables(runs, grid, tmp_path, sort_by).splitlines()
        assert [row.split(" | ")[0].strip("| ") for row in rows] == list(order)
        assert header == "| SEED | PCK@0.2 | neck | AP |"
    with pytest.raises(
        UsageError, match=r"no run has a metric 'PCK' to sort by; there are PCK@0\.2, neck, AP"
    ):
        write_tables(runs, grid, tmp_path, "PCK")


def test_averages_over_seeds(tmp_path: Path) -> None:
    """Means and sample standard deviations of the runs that are done; one run has no deviation."""
    grid = {"A": ["x", "y", "z"], "SEED": ["1", "2"], "B": ["0"]}
    runs = sweep_runs(Path("c.yaml"), grid, output=tmp_path)
    for run, metrics in zip(
        runs,
        [{"AP": 30.0}, {"AP": 32.0, "AP50": 60.0}, None, {"AP": 20.5}, None, None],
        strict=True,
    ):
        if metrics is not None:
            run.folder.mkdir()
            write_results(run.folder, {"keypoints": metrics})
    table = write_averages(runs, grid, tmp_path, over="SEED")
    assert table.splitlines() == [
        "| A | B | runs | AP | AP50 |",
        "| --- | --- | --- | --- | --- |",
        "| x | 0 | 2 | 31 ± 1.4 | 60 |",
        "| y | 0 | 1 | 20.5 | - |",
        "| z | 0 | 0 | - | - |",
    ]
    assert (tmp_path / "averages.md").read_text() == f"{table}\n"
    with (tmp_path / "averages.csv").open() as file:
        assert list(csv.reader(file)) == [
            ["A", "B", "runs", "AP", "AP std", "AP50", "AP50 std"],
            ["x", "0", "2", "31", "1.4", "60", ""],
            ["y", "0", "1", "20.5", "", "-", ""],
            ["z", "0", "0", "-", "", "-", ""],
        ]
    with pytest.raises(UsageError, match=r"--average C: the key must be one of --grid: A, SEED, B"):
        write_averages(runs, grid, tmp_path, over="C")
