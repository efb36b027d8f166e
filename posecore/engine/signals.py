"""What runs do with SIGTERM and SIGINT: :class:`StopSignals` in a training, :func:`forwarding` around one.

A training that gets one of them saves a checkpoint and ends with the status that shells have for the signal,
143 or 130.
"""

import logging
import os
import signal
import threading
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from types import FrameType
from typing import Any

from detectron2.utils import comm

from posecore.data.job_signals import SIGNALS

logger = logging.getLogger(__name__)

# The number of signals after which a process does not wait for a place to stop.
IMPATIENT = 3
# After this time a signal comes again that came while an object was destroyed.
RETRY_SECONDS = 0.05


class Stopped(SystemExit):
    """A signal has ended the run; the exit status is 128 plus its number."""

    def __init__(self, signum: int) -> None:
        super().__init__(128 + signum)
        self.signum = signum


class StopSignals:
    """Notes SIGTERM and SIGINT instead of ending the process, as a context manager.

    Inside :meth:`at_once` they raise :class:`Stopped`. The third of them ends the process in any case.
    Outside the main thread, where Python has no handlers, it does nothing.

    Attributes:
        received: the number of the first signal; 0 if there was none.
    """

    def __init__(self) -> None:
        self.received = 0
        self._count = 0
        self._message = ""
        self._previous: dict[int, Any] = {}
        self._process = 0

    def __enter__(self) -> "StopSignals":
        if threading.current_thread() is threading.main_thread():
            self._process = os.getpid()
            self._previous = {number: signal.signal(number, self._handle) for number in SIGNALS}
        return self

    def __exit__(self, *_: object) -> None:
        for number, handler in self._previous.items():
            signal.signal(number, handler)

    @contextmanager
    def at_once(self, message: str) -> Iterator[None]:
        """Signals raise :class:`Stopped` in this block.

        Args:
            message: what the log then says after the name of the signal.
        """
        before, self._message = self._message, message
        try:
            yield
        finally:
            self._message = before

    def _handle(self, signum: int, frame: FrameType | None) -> None:
        if os.getpid() != self._process:  # a process that was forked from this one and has no handlers yet
            if signum == signal.SIGINT:
                raise KeyboardInterrupt
            return
        if self._message and _in_destructor(frame):
            # Python would print what is raised there, and ignore it.
            again = threading.Timer(RETRY_SECONDS, os.kill, (self._process, signum))
            again.daemon = True
            again.start()
            return
        self._count += 1
        if self._count >= IMPATIENT:
            signal.signal(signum, signal.SIG_DFL)
            os.kill(os.getpid(), signum)
            return
        if self.received:
            return
        self.received = signum
        if self._message:
            if comm.is_main_process():
                logger.warning("%s %s", signal.Signals(signum).name, self._message)
            raise Stopped(signum)


def _in_destructor(frame: FrameType | None) -> bool:
    while frame is not None and frame.f_code.co_name != "__del__":
        frame = frame.f_back
    return frame is not None


class Forwarded:
    """The processes that signals are sent on to.

    Attributes:
        received: the number of the first signal; 0 if there was none.
    """

    def __init__(self, processes: list[int]) -> None:
        self.received = 0
        self._processes = processes

    def add(self, processes: Sequence[int]) -> None:
        """Adds processes; they get the signal that has come before."""
        self._processes.extend(processes)
        if self.received:
            self.send(processes, self.received)

    def handle(self, signum: int, frame: FrameType | None) -> None:
        """The handler of the signals."""
        self.received = self.received or signum
        self.send(self._processes, signum)

    @staticmethod
    def send(processes: Sequence[int], signum: int) -> None:
        """Sends a signal to those processes that are still there."""
        for process in processes:
            with suppress(ProcessLookupError):
                os.kill(process, signum)


@contextmanager
def forwarding(processes: list[int]) -> Iterator[Forwarded]:
    """Sends SIGTERM and SIGINT on to other processes, whose end the block waits for.

    Args:
        processes: their numbers; the list may grow. Those that the block starts are better added to what it
            yields, because a signal can come while they start.

    Yields:
        An object with the first signal as ``received``.
    """
    forwarded = Forwarded(processes)
    if threading.current_thread() is not threading.main_thread():
        yield forwarded
        return
    previous = {number: signal.signal(number, forwarded.handle) for number in SIGNALS}
    try:
        yield forwarded
    finally:
        for number, handler in previous.items():
            signal.signal(number, handler)
