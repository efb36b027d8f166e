"""An iterator that runs ahead in a thread."""

import threading
import time
from collections.abc import Iterator

import pytest

from posecore.inference.read_ahead import read_ahead


def test_items_come_in_order_and_then_the_exception() -> None:
    def items() -> Iterator[int]:
        yield from range(5)
        raise KeyboardInterrupt

    taken = []
    with pytest.raises(KeyboardInterrupt), read_ahead(items(), 2) as ahead:
        for item in ahead:
            taken.append(item)
    assert taken == list(range(5))


def test_no_more_items_wait_than_the_limit() -> None:
    made = []

    def items() -> Iterator[int]:
        for item in range(100):
            made.append(item)
            yield item

    with read_ahead(items(), 3) as ahead:
        assert next(ahead) == 0
        time.sleep(0.3)
        # One was taken, three wait, and one is made.
        assert len(made) == 5
        assert list(ahead) == list(range(1, 100))


def test_the_thread_ends_with_its_reader() -> None:
    before = threading.active_count()
    with pytest.raises(RuntimeError), read_ahead(iter(range(10**9)), 2) as ahead:
        next(ahead)
        raise RuntimeError
    assert threading.active_count() == before
