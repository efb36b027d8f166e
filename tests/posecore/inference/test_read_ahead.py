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

    with read_ahead(items(), 2) as ahead:
        assert [next(ahead) for _ in range(5)] == list(range(5))
        with pytest.raises(KeyboardInterrupt):
            next(ahead)


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

    def break_off() -> None:
        with read_ahead(iter(range(10**9)), 2) as ahead:
            next(ahead)
            raise RuntimeError

    with pytest.raises(RuntimeError):
        break_off()
    assert threading.active_count() == before
