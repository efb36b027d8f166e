"""Starts runs as processes of this machine: :class:`LocalStarter`; the interface :class:`Starter`."""

import ctypes
import os
import signal
import subprocess
import sys
from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from contextlib import suppress
from pathlib import Path

import torch

from posecore.config.errors import UsageError
from posecore.engine.run_lock import lock_folder

# The screen of a run, in its folder, where several run at once.
SCREEN = "screen.txt"
_PR_SET_PDEATHSIG = 1


class StartedRun(ABC):
    """A run that has been started.

    Attributes:
        pid: its process on this machine, which gets the signals of this one; None where it runs elsewhere and
            goes on when this process ends.
    """

    pid: int | None = None

    @abstractmethod
    def poll(self) -> int | None:
        """The exit status; None while it runs."""

    @abstractmethod
    def stop(self) -> None:
        """Asks the run to save a checkpoint and end."""


class Starter(ABC):
    """Starts the commands of runs."""

    @abstractmethod
    def start(self, command: Sequence[str], folder: Path, place: int) -> StartedRun | None:
        """Starts a command.

        Args:
            command: the program and its arguments.
            folder: of the run; made if it is not there.
            place: the number of the run among those at work, from 0.

        Returns:
            None if another process works in the folder at the moment.

        Raises:
            UsageError: there is no such program, or it cannot be started.
        """


class _LocalRun(StartedRun):
    def __init__(self, process: subprocess.Popen) -> None:
        self._process = process
        self.pid = process.pid

    def poll(self) -> int | None:
        return self._process.poll()

    def stop(self) -> None:
        with suppress(ProcessLookupError):
            self._process.send_signal(signal.SIGTERM)


class LocalStarter(Starter):
    """Starts processes of this machine.

    A process ends, with a checkpoint, also where this process is killed. It holds a lock on its folder until
    it has ended.

    Args:
        environments: what each place adds to the environment; their number is that of runs at once.
        own_screens: whether what runs print goes to "screen.txt" in their folders instead of this screen.
    """

    def __init__(
        self, environments: Sequence[Mapping[str, str]] = ({},), *, own_screens: bool = False
    ) -> None:
        self._environments = environments
        self._own_screens = own_screens

    def start(self, command: Sequence[str], folder: Path, place: int) -> StartedRun | None:
        """Starts a run as a process of this machine."""
        lock = lock_folder(folder)
        if lock is None:
            return None
        screen = (folder / SCREEN).open("ab") if self._own_screens else None
        try:
            process = subprocess.Popen(
                command,
                env={**os.environ, **self._environments[place]},
                stdout=screen,
                stderr=subprocess.STDOUT if screen else None,
                stdin=subprocess.DEVNULL if screen else None,
                # Ctrl-C of the terminal then reaches a run once, by this process.
                start_new_session=self._own_screens,
                pass_fds=[lock],
                preexec_fn=_end_with_parent if sys.platform == "linux" else None,
            )
        except OSError as error:
            raise UsageError(f"{command[0]} cannot be started: {error.strerror}") from error
        finally:
            os.close(lock)
            if screen:
                screen.close()
        return _LocalRun(process)


def _end_with_parent() -> None:
    """Lets the kernel send SIGTERM to this process when its parent ends; runs in the new process."""
    ctypes.CDLL(None).prctl(_PR_SET_PDEATHSIG, signal.SIGTERM)


def visible_cards(environment: Mapping[str, str] = os.environ) -> list[str]:
    """The names of the GPUs that torch may use, as CUDA_VISIBLE_DEVICES has them."""
    given = environment.get("CUDA_VISIBLE_DEVICES")
    if given is None:
        return [str(index) for index in range(torch.cuda.device_count())]
    return [card.strip() for card in given.split(",") if card.strip()]


def share_machine(
    jobs: int, num_gpus: int, cards: Sequence[str], environment: Mapping[str, str] = os.environ
) -> list[dict[str, str]]:
    """What the environment of each of several runs at once has more: its GPUs, and its share of threads.

    Args:
        jobs: runs at once.
        num_gpus: processes of each.
        cards: names of the GPUs; none for runs on the CPU.
        environment: an OMP_NUM_THREADS in it is left as it is.

    Raises:
        UsageError: there are fewer cards than the runs need.
    """
    if cards and jobs * num_gpus > len(cards):
        raise UsageError(
            f"--jobs {jobs} with --num-gpus {num_gpus} needs {jobs * num_gpus} GPUs, but there are "
            f"{len(cards)} ({', '.join(cards)}): give --jobs {max(1, len(cards) // num_gpus)} or less"
        )
    shares = []
    for place in range(jobs):
        share = {}
        if cards:
            share["CUDA_VISIBLE_DEVICES"] = ",".join(cards[place * num_gpus : (place + 1) * num_gpus])
        if jobs > 1 and "OMP_NUM_THREADS" not in environment:
            share["OMP_NUM_THREADS"] = str(max(1, (os.cpu_count() or 1) // (jobs * num_gpus)))
        shares.append(share)
    return shares
