"""Runs: their commands, and which of them start."""

import shlex
import sys
from pathlib import Path

import pytest

from posecore.config.merge import UsageError
from posecore.config.repository import CONFIGS
from posecore.engine.results import write_results
from posecore.engine.run import Run
from posecore.engine.runs import Execution, start_runs

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


def test_no_runs_are_an_error() -> None:
    with pytest.raises(UsageError, match="nothing to run"):
        start_runs([])


def test_a_command_that_ends_well_but_writes_no_results_has_failed(tmp_path: Path) -> None:
    assert start_runs([make_run(tmp_path / "run")], Execution(launcher="true")) == ["run"]


@pytest.mark.parametrize("launcher", ["no-such-launcher", "'"])
def test_a_launcher_that_does_not_exist(tmp_path: Path, launcher: str) -> None:
    with pytest.raises(UsageError, match=r"no-such-launcher cannot be started|--launcher \"'\": No closing"):
        start_runs([make_run(tmp_path / "run")], Execution(launcher=launcher))


def test_the_machine_that_checks_may_have_another_device(tmp_path: Path) -> None:
    run = make_run(tmp_path / "run", "MODEL.DEVICE", "cpu")
    run.folder.mkdir()
    (run.folder / "config.yaml").write_text("MODEL: {DEVICE: cuda}\nSEED: 0\n")
    run.check()
    (run.folder / "config.yaml").write_text("MODEL: {DEVICE: cuda}\nSEED: 4\n")
    with pytest.raises(UsageError, match="holds a run with SEED 4, not 0"):
        run.check()


@pytest.mark.parametrize("text", ["", "[", "- 1", "\x00"])
def test_a_recorded_configuration_that_is_broken(tmp_path: Path, text: str) -> None:
    (tmp_path / "config.yaml").write_text(text)
    with pytest.raises(UsageError, match=r"(?s)config\.yaml.*delete or rename"):
        make_run(tmp_path).check()


def test_a_folder_that_is_a_file(tmp_path: Path) -> None:
    (tmp_path / "run").touch()
    with pytest.raises(UsageError, match="run is a file, where the folder of a run should be"):
        make_run(tmp_path / "run").check()


def test_nothing_starts_if_one_cannot(tmp_path: Path, capsys: pytest.CaptureFixture) -> None:
    runs = [make_run(tmp_path / "good"), make_run(tmp_path / "bad", "SEEDS", "1")]
    with pytest.raises(UsageError, match=r"bad: .*unknown config key SEEDS"):
        start_runs(runs, print_only=True)
    assert capsys.readouterr().out == ""
