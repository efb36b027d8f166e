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

logger = logging.getLogger(__name__)

SIGNALS = (signal.SIGTERM, signal.SIGINT)
# The number of signals after which a process does not wait for a place to stop.
IMPATIENT = 3


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


class _Forwarded:
    """The number of the first signal that was forwarded; 0 if there was none."""

    received: int = 0


@contextmanager
def forwarding(processes: Sequence[int]) -> Iterator[_Forwarded]:
    """Sends SIGTERM and SIGINT on to other processes, whose end the block waits for.

    Args:
        processes: their numbers.

    Yields:
        An object with the first signal as ``received``.
    """
    forwarded = _Forwarded()

    def handle(signum: int, frame: FrameType | None) -> None:
        forwarded.received = forwarded.received or signum
        for process in processes:
            with suppress(ProcessLookupError):
                os.kill(process, signum)

    if threading.current_thread() is not threading.main_thread():
        yield forwarded
        return
    previous = {number: signal.signal(number, handle) for number in SIGNALS}
    try:
        yield forwarded
    finally:
        for number, handler in previous.items():
            signal.signal(number, handler)
