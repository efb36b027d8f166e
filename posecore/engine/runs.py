"""Starts several runs, those that are not done: :func:`start_runs`."""

import shlex
import sys
import time
from collections import deque
from collections.abc import Sequence
from dataclasses import dataclass, field
from datetime import timedelta

from posecore.config.merge import UsageError
from posecore.engine.run import Run
from posecore.engine.schedule import RunSource, work_off
from posecore.engine.slurm import SlurmStarter
from posecore.engine.starters import SCREEN, LocalStarter, Starter, share_machine, visible_cards


@dataclass(frozen=True)
class Execution:
    """How runs are executed.

    Attributes:
        launcher, num_gpus, eval_only: see :meth:`posecore.engine.run.Run.command`.
        jobs: runs at once; None for one on this machine, and for all in Slurm's queue.
        slurm: submitit's parameters of jobs in Slurm; None for processes of this machine.
    """

    launcher: str = ""
    num_gpus: int = 1
    eval_only: bool = False
    jobs: int | None = None
    slurm: dict[str, str] | None = field(default=None, hash=False)

    def command(self, run: Run) -> list[str]:
        """The command that starts a run, or continues it."""
        return run.command(launcher=self.launcher, num_gpus=self.num_gpus, eval_only=self.eval_only)

    def starter(self, device: str, *, own_screens: bool = False) -> Starter:
        """What starts the runs.

        Args:
            device: MODEL.DEVICE of the runs.
            own_screens: whether each run's screen goes to its folder also where one runs at a time.

        Raises:
            UsageError: the machine has too few GPUs, or submitit is missing or refuses a parameter.
        """
        on_gpu = device.startswith("cuda")
        if self.slurm is not None:
            return SlurmStarter(self.slurm, gpus=self.num_gpus if on_gpu else 0)
        jobs = self.jobs or 1
        cards = visible_cards() if on_gpu and jobs > 1 else []
        shares = share_machine(jobs, self.num_gpus, cards)
        return LocalStarter(shares, own_screens=own_screens or jobs > 1)


class RunList(RunSource):
    """The runs of a list that are not done; prints a line when one starts and, where several run, ends.

    Args:
        runs: in the order in which they start.
        tells_ends: whether a line is printed for each end.

    Attributes:
        failed: names of the runs that have failed.
    """

    def __init__(self, runs: Sequence[Run], *, tells_ends: bool = False) -> None:
        self._waiting = deque(enumerate(runs, start=1))
        self._count = len(runs)
        self._tells_ends = tells_ends
        self._since: dict[str, float] = {}
        self.failed: list[str] = []

    def take(self) -> Run | None:
        """The next run; None if there is none."""
        if not self._waiting:
            return None
        number, run = self._waiting.popleft()
        self._since[run.name] = time.monotonic()
        print(f"== {number} of {self._count}: {run.name}", flush=True)
        return run

    def ended(self, run: Run, status: int) -> None:
        """Takes note of a run that has ended."""
        metrics = run.metrics()
        if status != 0 or metrics is None:
            self.failed.append(run.name)
        if self._tells_ends:
            print(describe_end(run, status, time.monotonic() - self._since[run.name]), flush=True)


def describe_end(run: Run, status: int, seconds: float) -> str:
    """The end of a run in a line: its AP, or the last line of its screen."""
    metrics = run.metrics()
    took = timedelta(seconds=round(seconds))
    if status == 0 and metrics is not None:
        result = f"AP {metrics['AP']:.1f}" if "AP" in metrics else "done"
        return f"-- {run.name}: {result} ({took})"
    screen = run.folder / SCREEN
    lines = screen.read_text(errors="replace").split("\n") if screen.is_file() else []
    last = next((line for line in reversed(lines) if line.strip()), "")
    why = f"ended with status {status}" if status else "has written no results"
    return f"-- {run.name}: failed, {why} ({took}); {screen}: {last}"


def start_runs(
    runs: Sequence[Run], execution: Execution | None = None, *, print_only: bool = False
) -> list[str]:
    """Starts the runs that are not done; a failure does not stop the others.

    A run is done when its folder has results.json, which also a process that ends well must have written.

    Args:
        runs: in the order in which they start.
        execution: how; None for one process of this machine after the other.
        print_only: prints the commands, one per line, instead of starting them.

    Returns:
        The names of the runs that failed.

    Raises:
        UsageError: there are no runs, or one of them cannot start; then none has started.
        Stopped: this process got SIGTERM or SIGINT; the runs got it too, and have ended.
    """
    execution = execution or Execution()
    if not runs:
        raise UsageError("there is nothing to run")
    devices = [run.check() for run in runs]
    waiting = [run for run in runs if run.metrics() is None]
    if not waiting:
        print(f"nothing is started: all of {len(runs)} runs are done", file=sys.stderr)
        return []
    if print_only:
        for run in waiting:
            print(shlex.join(execution.command(run)))
        return []
    everywhere = len(waiting) if execution.slurm is not None else 1
    jobs = execution.jobs or everywhere
    source = RunList(waiting, tells_ends=jobs > 1)
    device = next((device for device in devices if device.startswith("cuda")), "cpu")
    work_off(source, execution.starter(device), execution.command, jobs=jobs)
    return source.failed
