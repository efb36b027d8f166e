"""Runs: their commands, and which of them start."""

import shlex
import sys
from pathlib import Path

import pytest

from posecore.config.merge import UsageError
from posecore.config.repository import CONFIGS
from posecore.engine.results import write_results
from posecore.engine.runs import Run, start_runs

CONFIG = CONFIGS / "directpose/demo/synthetic.yaml"


def make_run(folder: Path, *overrides: str) -> Run:
    return Run(folder.name, CONFIG, overrides, folder)


def test_the_command_trains_and_goes_on_where_it_was(tmp_path: Path) -> None:
    command = make_run(tmp_path, "SEED", "1").command()
    assert command[0] == sys.executable
    assert command[1].endswith("tools/train_net.py")
    assert command[-5:] == ["--resume", "SEED", "1", "OUTPUT_DIR", str(tmp_path)]


def test_the_command_evaluates_in_several_processes(tmp_path: Path) -> None:
    command = make_run(tmp_path).command(launcher="srun -n 8 python", num_gpus=4, eval_only=True)
    assert command[:4] == ["srun", "-n", "8", "python"]
    assert command[7:10] == ["--eval-only", "--num-gpus", "4"]
    assert "--resume" not in command


def test_metrics_are_those_of_the_first_task(tmp_path: Path) -> None:
    run = make_run(tmp_path)
    assert run.metrics() is None
    write_results(tmp_path, {"keypoints": {"AP": 50.0}, "bbox": {"AP": 60.0, "APl": 70.0}})
    assert run.metrics() == {"AP": 50.0, "APl": 70.0}


def test_runs_that_are_done_do_not_start(tmp_path: Path, capsys: pytest.CaptureFixture) -> None:
    for name in ("done", "open"):
        (tmp_path / name).mkdir()
    write_results(tmp_path / "done", {})
    runs = [make_run(tmp_path / "done"), make_run(tmp_path / "open")]
    assert start_runs(runs, print_only=True) == []
    assert capsys.readouterr().out == f"{shlex.join(runs[1].command())}\n"


def test_nothing_starts_if_one_cannot(tmp_path: Path, capsys: pytest.CaptureFixture) -> None:
    runs = [make_run(tmp_path / "good"), make_run(tmp_path / "bad", "SEEDS", "1")]
    with pytest.raises(UsageError, match=r"bad: .*unknown config key SEEDS"):
        start_runs(runs, print_only=True)
    assert capsys.readouterr().out == ""
