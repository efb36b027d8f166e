"""Runs as jobs of submitit, with its executor for this machine in place of Slurm."""

import os
import signal
import time
from pathlib import Path

import pytest
from helpers.stand_in_training import LAUNCHER, notes

from posecore.config.merge import UsageError
from posecore.config.repository import CONFIGS
from posecore.engine.command_line import slurm_parameters
from posecore.engine.run import Run
from posecore.engine.runs import Execution, start_runs
from posecore.engine.slurm import SlurmStarter

pytestmark = pytest.mark.long

pytest.importorskip("submitit", reason="submitit is not installed (requirements/slurm.txt)")

CONFIG = CONFIGS / "directpose/demo/synthetic.yaml"
LOCAL = {"cluster": "local", "timeout_min": "5"}


@pytest.fixture(autouse=True)
def _short_environment(root: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Jobs import posecore, as they do where it is installed."""
    monkeypatch.setenv("PYTHONPATH", str(root))
    monkeypatch.chdir(root)


def make_run(folder: Path, *overrides: str) -> Run:
    return Run(folder.name, CONFIG, overrides, folder)


def test_jobs_of_submitit_are_waited_for(tmp_path: Path, capsys: pytest.CaptureFixture) -> None:
    runs = [make_run(tmp_path / "good"), make_run(tmp_path / "bad", "SEED", "13")]
    assert start_runs(runs, Execution(launcher=LAUNCHER, slurm=LOCAL)) == ["bad"]
    assert runs[0].metrics() == {"AP": 100.0}
    assert (runs[0].folder / "screen.txt").read_text() == "begins with iteration 0\n"
    assert "-- bad: failed, ended with status 1" in capsys.readouterr().out
    assert start_runs(runs[:1], Execution(launcher=LAUNCHER, slurm=LOCAL)) == []
    assert len(notes(runs[0].folder)) == 1


def test_a_job_that_is_preempted_goes_on(tmp_path: Path) -> None:
    run = make_run(tmp_path / "run", "SOLVER.MAX_ITER", "100")
    starter = SlurmStarter(LOCAL, gpus=0)
    started = starter.start(Execution(launcher=LAUNCHER).command(run), run.folder, 0)
    assert started is not None
    end = time.monotonic() + 120
    while not (run.folder / "metrics.json").is_file():
        assert time.monotonic() < end
        time.sleep(0.05)
    assert starter.start(["true"], run.folder, 0) is None  # the job holds the folder
    # To the task itself, as Slurm does; the controller of a local job does not pass this signal on.
    controller = int(started._job.job_id)
    (task,) = Path(f"/proc/{controller}/task/{controller}/children").read_text().split()
    os.kill(int(task), signal.SIGUSR2)
    while started.poll() is None:
        assert time.monotonic() < end
        time.sleep(0.1)
    assert started.poll() == 0
    first, second = notes(run.folder)
    assert not first["ended"]
    assert second["ended"]
    assert second["first"] == int((run.folder / "last_checkpoint").read_text()) > 0


@pytest.mark.parametrize(
    ("parameters", "message"),
    [
        ({"cluster": "local", "partitions": "gpu"}, "--slurm: Parameter 'partitions' need to be prefixed"),
        ({"cluster": "local", "timeout_min": "long"}, "timeout_min"),
        ({"cluster": "cloud"}, "doesn't know any executor named cloud"),
        ({}, "--slurm: .*srun"),
    ],
)
def test_parameters_that_submitit_refuses(parameters: dict[str, str], message: str, tmp_path: Path) -> None:
    run = make_run(tmp_path / "run")
    with pytest.raises(UsageError, match=message):
        start_runs([run], Execution(launcher=LAUNCHER, slurm=parameters))
    assert not run.folder.exists()


class _Options:
    """Parsed options."""

    def __init__(self, slurm: bool, *slurm_option: str) -> None:
        self.slurm = slurm
        self.slurm_option = list(slurm_option)


def test_options_of_the_command_line() -> None:
    assert slurm_parameters(_Options(False)) is None
    assert slurm_parameters(_Options(True, "a=1", "b=x=y")) == {"a": "1", "b": "x=y"}
    with pytest.raises(UsageError, match="--slurm-option must be NAME=VALUE, not 'a'"):
        slurm_parameters(_Options(True, "a"))
    with pytest.raises(UsageError, match="has no effect without --slurm"):
        slurm_parameters(_Options(False, "a=1"))


SBATCH = """#!/bin/sh
# Runs the job at once in place of a queue, and prints what sbatch prints.
echo $$ >> {folder}/submitted
grep '^#SBATCH' "$1" >> {folder}/options
echo "Submitted batch job 77"
"""


def test_a_job_in_the_queue_is_not_submitted_again(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """With stand-ins for sbatch, which notes the job, and sacct, which says that it runs."""
    commands = tmp_path / "bin"
    commands.mkdir()
    sacct = "#!/bin/sh\necho 'JobID|State|NodeList'\necho '77|RUNNING|node1'\n"
    for name, text in (("sbatch", SBATCH.format(folder=tmp_path)), ("sacct", sacct), ("srun", "#!/bin/sh\n")):
        (commands / name).write_text(text)
        (commands / name).chmod(0o755)
    monkeypatch.setenv("PATH", f"{commands}:{os.environ['PATH']}")
    run = make_run(tmp_path / "run")
    parameters = {"slurm_partition": "gpu", "timeout_min": "600"}
    for _ in range(2):
        started = SlurmStarter(parameters, gpus=4).start(["true"], run.folder, 0)
        assert started is not None
        assert started.pid is None
        assert started.poll() is None
    assert len((tmp_path / "submitted").read_text().splitlines()) == 1
    options = (tmp_path / "options").read_text()
    assert "--partition=gpu" in options
    assert "--gpus-per-node=4" in options
    assert "--time=600" in options
