"""Several runs at once: the GPUs that they get, where their screens go, and interruptions."""

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
from helpers.stand_in_training import LAUNCHER, forked, notes

from posecore.config.merge import UsageError
from posecore.config.repository import CONFIGS
from posecore.engine.run import Run
from posecore.engine.run_lock import lock_folder
from posecore.engine.run_progress import read_progress
from posecore.engine.runs import Execution, start_runs
from posecore.engine.starters import share_machine, visible_cards
from posecore.engine.sweeps import sweep_runs, write_tables

pytestmark = pytest.mark.long

CONFIG = CONFIGS / "directpose/demo/synthetic.yaml"


def make_runs(folder: Path, count: int, *overrides: str) -> list[Run]:
    return [Run(str(n), CONFIG, ("SEED", str(n), *overrides), folder / str(n)) for n in range(count)]


def overlap(folders: list[Path]) -> int:
    """The greatest number of runs that worked at the same time."""
    times = [note["times"] for folder in folders for note in notes(folder)]
    return max(sum(begin <= moment < end for begin, end in times) for moment, _ in times)


def test_jobs_run_at_once_and_no_more_of_them(tmp_path: Path, capsys: pytest.CaptureFixture) -> None:
    runs = make_runs(tmp_path, 5, "SOLVER.MAX_ITER", "12")
    assert start_runs(runs, Execution(launcher=LAUNCHER, jobs=3)) == []
    assert overlap([run.folder for run in runs]) in (2, 3)
    output = capsys.readouterr().out.splitlines()
    assert [line for line in output if line.startswith("==")] == [f"== {n + 1} of 5: {n}" for n in range(5)]
    ends = sorted(line for line in output if line.startswith("--"))
    assert [line.split(" (")[0] for line in ends] == [f"-- {n}: AP 100.0" for n in range(5)]
    assert (runs[4].folder / "screen.txt").read_text() == "begins with iteration 0\n"


def test_a_failure_does_not_stop_the_others(tmp_path: Path, capsys: pytest.CaptureFixture) -> None:
    runs = [*make_runs(tmp_path, 2), Run("bad", CONFIG, ("SEED", "13"), tmp_path / "bad")]
    assert start_runs(list(reversed(runs)), Execution(launcher=LAUNCHER, jobs=2)) == ["bad"]
    assert all(run.metrics() is not None for run in runs[:2])
    (line,) = [line for line in capsys.readouterr().out.splitlines() if line.startswith("-- bad")]
    assert "failed, ended with status 1" in line
    assert line.endswith("screen.txt: stand_in_training.py: SEED 13 fails")


def test_cards_are_shared_out(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "4,5, 6,7")
    monkeypatch.delenv("OMP_NUM_THREADS", raising=False)
    runs = make_runs(tmp_path, 2, "MODEL.DEVICE", "cuda", "SOLVER.MAX_ITER", "20")
    assert start_runs(runs, Execution(launcher=LAUNCHER, jobs=2, num_gpus=2)) == []
    first, second = (notes(run.folder)[0] for run in runs)
    assert (first["cards"], second["cards"]) == ("4,5", "6,7")
    with pytest.raises(
        UsageError, match=r"--jobs 3 with --num-gpus 2 needs 6 GPUs, but there are 4 .*--jobs 2"
    ):
        start_runs(make_runs(tmp_path / "more", 3, "MODEL.DEVICE", "cuda"), Execution(jobs=3, num_gpus=2))


def test_runs_on_the_cpu_share_its_threads(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(os, "cpu_count", lambda: 8)
    assert share_machine(3, 1, [], {}) == [{"OMP_NUM_THREADS": "2"}] * 3
    assert share_machine(3, 1, [], {"OMP_NUM_THREADS": "5"}) == [{}] * 3
    assert share_machine(1, 1, [], {}) == [{}]
    assert share_machine(1, 2, ["a", "b"], {}) == [{"CUDA_VISIBLE_DEVICES": "a,b"}]
    assert visible_cards({"CUDA_VISIBLE_DEVICES": ""}) == []


def test_a_folder_in_use_is_waited_for(tmp_path: Path, capsys: pytest.CaptureFixture) -> None:
    runs = make_runs(tmp_path, 2)
    lock = lock_folder(runs[0].folder)
    assert lock is not None
    assert lock_folder(runs[0].folder) is None
    holder = subprocess.Popen([sys.executable, "-c", "import time; time.sleep(2)"], pass_fds=[lock])
    os.close(lock)
    begin = time.time()
    assert start_runs(runs, Execution(launcher=LAUNCHER)) == []
    assert notes(runs[1].folder)[0]["times"][0] < notes(runs[0].folder)[0]["times"][0]
    assert notes(runs[0].folder)[0]["times"][0] >= begin + 1
    assert "0: another process works in" in capsys.readouterr().out
    holder.wait()


def test_progress_is_read_from_the_last_lines(tmp_path: Path) -> None:
    assert read_progress(tmp_path) is None
    (tmp_path / "metrics.json").write_text(
        '{"iteration": 9, "keypoints/AP": 12.34}\n'
        '{"iteration": 19, "total_loss": 2.5, "eta_seconds": 3725.2}\n{"iteration": 39, "total'
    )
    progress = read_progress(tmp_path)
    assert progress is not None
    assert progress.describe() == "iteration 20, loss 2.500, AP 12.3, 1:02:05 left"


def sweep(output: Path) -> None:
    """What tools/sweep.py does; the process ends with its status."""
    runs = sweep_runs(CONFIG, {"SEED": ["1", "2", "3"]}, output=output, overrides=["SOLVER.MAX_ITER", "100"])
    failed = start_runs(runs, Execution(launcher=LAUNCHER, jobs=2))
    write_tables(runs, {"SEED": ["1", "2", "3"]}, output)
    sys.exit(len(failed))


def wait_until_at_work(folders: list[Path], seconds: float = 300) -> None:
    end = time.monotonic() + seconds
    while not all((folder / "metrics.json").is_file() for folder in folders):
        assert time.monotonic() < end
        time.sleep(0.05)


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM, signal.SIGKILL])
def test_a_sweep_goes_on_after(number: signal.Signals, tmp_path: Path) -> None:
    """Runs at work save and end, also where the sweep is killed, and continue with the next start."""
    folders = [tmp_path / f"SEED={seed}" for seed in (1, 2, 3)]
    first = forked(sweep, tmp_path)
    wait_until_at_work(folders[:2])
    os.kill(first.pid, number)
    first.join(timeout=300)
    assert first.exitcode == (-9 if number == signal.SIGKILL else 128 + number)
    again = forked(sweep, tmp_path)  # at once: the runs may still be saving
    again.join(timeout=300)
    assert again.exitcode == 0
    for folder in folders:
        *interrupted, last = notes(folder)
        assert last["ended"]
        assert [note["ended"] for note in interrupted] == [False] * len(interrupted)
        assert last["first"] == (int((folder / "last_checkpoint").read_text()) if interrupted else 0)
    assert all(len(notes(folder)) == 2 for folder in folders[:2])
    assert "| 3 | 100 |" in (tmp_path / "results.md").read_text()
