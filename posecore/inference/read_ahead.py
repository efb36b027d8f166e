"""Runs an iterator in a thread, some items ahead of the one that is worked on: :func:`read_ahead`."""

import contextlib
import queue
import threading
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Generic, TypeVar

Item = TypeVar("Item")

# How often a thread that waits for room in the queue looks whether its reader has gone, seconds.
_LOOK = 0.1


@dataclass(frozen=True)
class _Made(Generic[Item]):
    """An item of the thread."""

    item: Item


@dataclass(frozen=True)
class _End:
    """The end of the thread, and the exception that ended it, if one did."""

    error: BaseException | None


@contextlib.contextmanager
def read_ahead(items: Iterator[Item], limit: int) -> Iterator[Iterator[Item]]:
    """Gives the items of an iterator in their order, while a thread already makes the next ones.

    An exception of the iterator is raised where its next item would have come. At the end of the ``with``
    block, also after an exception such as KeyboardInterrupt, the thread stops behind the item that it makes.

    Args:
        items: used in the thread alone.
        limit: how many items wait at most, which bounds the memory; at least 1.
    """
    waiting: queue.Queue[_Made[Item] | _End] = queue.Queue(limit)
    stopped = threading.Event()

    def put(entry: _Made[Item] | _End) -> None:
        while not stopped.is_set():
            with contextlib.suppress(queue.Full):
                waiting.put(entry, timeout=_LOOK)
                return

    def make() -> None:
        error: BaseException | None = None
        try:
            for item in items:
                put(_Made(item))
                if stopped.is_set():
                    break
        except BaseException as raised:
            error = raised
        put(_End(error))

    def take() -> Iterator[Item]:
        while isinstance(entry := waiting.get(), _Made):
            yield entry.item
        if entry.error is not None:
            raise entry.error

    # A daemon, because a read that hangs must not keep the process from ending.
    thread = threading.Thread(target=make, name="read ahead", daemon=True)
    thread.start()
    try:
        yield take()
    finally:
        stopped.set()
        thread.join(timeout=1)
