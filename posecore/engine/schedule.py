"""Works off runs, several at once: :func:`work_off` takes them from a :class:`RunSource`."""

import time
from abc import ABC, abstractmethod
from collections.abc import Callable, Sequence
from datetime import timedelta

from posecore.engine.run import Run
from posecore.engine.run_progress import ProgressLines, read_progress
from posecore.engine.signals import Stopped, forwarding
from posecore.engine.starters import StartedRun, Starter

POLL_SECONDS = 0.2
# Between two looks at the metrics of the runs.
WATCH_SECONDS = 2.0


class RunSource(ABC):
    """Gives runs one after the other, and is told how they end."""

    @abstractmethod
    def take(self) -> Run | None:
        """The next run that is to be started; None if there are no more."""

    @abstractmethod
    def ended(self, run: Run, status: int) -> None:
        """Notes the end of a run.

        Args:
            run: one that was taken.
            status: its exit status; 0 for a run that another process has finished.
        """

    def watch(self, run: Run) -> bool:
        """Looks at the metrics of a run that is at work; True asks it to end."""
        return False


class _Place:
    """A run at work, and its times."""

    def __init__(self, run: Run, started: StartedRun) -> None:
        self.run = run
        self.started = started
        self.since = time.monotonic()
        self.is_stopped = False

    def describe(self) -> str:
        progress = read_progress(self.run.folder)
        seconds = timedelta(seconds=round(time.monotonic() - self.since))
        return f"{self.run.name}: {progress.describe() if progress else 'it begins'} ({seconds})"


def work_off(
    source: RunSource,
    starter: Starter,
    command: Callable[[Run], Sequence[str]],
    *,
    jobs: int = 1,
) -> None:
    """Starts the runs of a source, at most ``jobs`` at once, and waits for all of them.

    A run in whose folder another process works waits until that one has ended, and is not started if it has
    then been finished. On a terminal there is a line for each run at work.

    Args:
        source: of the runs.
        starter: starts them.
        command: from a run to the program and its arguments.
        jobs: runs at once.

    Raises:
        UsageError: a run cannot be started; the others are stopped before.
        Stopped: this process got SIGTERM or SIGINT; the runs got it too, and have ended.
    """
    places: dict[int, _Place] = {}
    waiting: list[Run] = []
    pids: list[int] = []
    lines = ProgressLines(jobs if jobs > 1 else 0)
    try:
        with forwarding(pids) as forwarded:
            looked = time.monotonic()
            while True:
                if forwarded.received:
                    # Those without a process here go on by themselves.
                    places = {n: place for n, place in places.items() if place.started.pid is not None}
                else:
                    _fill(places, waiting, source, starter, command, jobs, pids)
                    if forwarded.received:  # between the start of a process and its place in the list
                        _stop(places)
                if not places and (forwarded.received or not waiting):
                    break
                time.sleep(POLL_SECONDS)
                _collect(places, source, pids, lines)
                if time.monotonic() - looked > WATCH_SECONDS:
                    looked = time.monotonic()
                    _watch(places, source, lines)
    except BaseException:
        _stop(places)
        for place in places.values():
            while place.started.pid is not None and place.started.poll() is None:
                time.sleep(POLL_SECONDS)
        raise
    finally:
        lines.close()
    if forwarded.received:
        raise Stopped(forwarded.received)


def _fill(
    places: dict[int, _Place],
    waiting: list[Run],
    source: RunSource,
    starter: Starter,
    command: Callable[[Run], Sequence[str]],
    jobs: int,
    pids: list[int],
) -> None:
    """Starts runs in all free places: those that wait for another process, then those of the source."""
    candidates = list(waiting)
    for number in range(jobs):
        while number not in places:
            run = candidates.pop(0) if candidates else source.take()
            if run is None:
                return
            if run.metrics() is not None:  # another process has finished it in the meantime
                if run in waiting:
                    waiting.remove(run)
                source.ended(run, 0)
                continue
            started = starter.start(command(run), run.folder, number)
            if started is None:
                if run not in waiting:
                    print(f"{run.name}: another process works in {run.folder}; it is waited for", flush=True)
                    waiting.append(run)
                continue
            if run in waiting:
                waiting.remove(run)
            places[number] = _Place(run, started)
            if started.pid is not None:
                pids.append(started.pid)


def _collect(places: dict[int, _Place], source: RunSource, pids: list[int], lines: ProgressLines) -> None:
    """Tells the source which runs have ended."""
    for number, place in list(places.items()):
        status = place.started.poll()
        if status is not None:
            del places[number]
            if place.started.pid is not None:
                pids.remove(place.started.pid)
            lines.show(number, "")
            source.ended(place.run, status)


def _watch(places: dict[int, _Place], source: RunSource, lines: ProgressLines) -> None:
    for number, place in places.items():
        lines.show(number, place.describe())
        if not place.is_stopped and source.watch(place.run):
            place.is_stopped = True
            place.started.stop()


def _stop(places: dict[int, _Place]) -> None:
    for place in places.values():
        if place.started.pid is not None:
            place.started.stop()
