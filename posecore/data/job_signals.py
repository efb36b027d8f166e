"""SIGTERM and SIGINT around processes that are started: :func:`held_signals`, and :class:`JobLoader`.

Schedulers and terminals send their signals to all processes of a job. What is done then is decided by the
process of the training alone: its workers go on until it ends them.
"""

import os
import signal
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from types import FrameType
from typing import Any

from torch.utils.data import DataLoader

SIGNALS = (signal.SIGTERM, signal.SIGINT)


@contextmanager
def held_signals() -> Iterator[None]:
    """Lets SIGTERM and SIGINT wait until the end of the block.

    Processes that are started in the block inherit that the signals are blocked, from their first instruction
    on. In this process nothing is raised in the block: an exception within the start of a process would leave
    objects that are half made, whose destructors fail. Outside the main thread, which alone runs handlers,
    the signals are only blocked.
    """
    received: list[int] = []

    def note(signum: int, frame: FrameType | None) -> None:
        received.append(signum)

    previous: dict[signal.Signals, Any] = {}
    blocked = signal.pthread_sigmask(signal.SIG_BLOCK, SIGNALS)
    try:
        # Another thread may get a signal all the same, and its handler then runs in this one.
        if threading.current_thread() is threading.main_thread():
            for number in SIGNALS:
                previous[number] = signal.signal(number, note)
        yield
    finally:
        try:
            for number, handler in previous.items():
                signal.signal(number, signal.SIG_DFL if handler is None else handler)
            for signum in received:
                os.kill(os.getpid(), signum)
        finally:  # also where another thread gets the signal at once, and its handler raises
            signal.pthread_sigmask(signal.SIG_SETMASK, blocked)


def release_signals() -> None:
    """Unblocks the signals in a process that :func:`held_signals` started; both of them end it in silence."""
    signal.signal(signal.SIGINT, signal.SIG_DFL)
    signal.pthread_sigmask(signal.SIG_UNBLOCK, SIGNALS)


class JobLoader(DataLoader[Any]):
    """A loader whose workers start with the signals blocked; give it :func:`outlast_signals`, too.

    A worker ends where the process that started it ends it, or is gone, which torch's watchdog notices.
    """

    def __iter__(self) -> Any:
        with held_signals():
            return super().__iter__()


def outlast_signals(worker: int) -> None:
    """Lets a loader worker go on where a whole job gets SIGTERM or SIGINT, until the training ends it.

    A SIGTERM of the process that started the worker ends it.
    """
    parent = os.getppid()

    def wait_for_parent() -> None:
        while signal.sigwaitinfo({signal.SIGTERM}).si_pid != parent:
            pass
        os._exit(0)

    signal.signal(signal.SIGINT, signal.SIG_IGN)
    signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGTERM})
    threading.Thread(target=wait_for_parent, daemon=True).start()
