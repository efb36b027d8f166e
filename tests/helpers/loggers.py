"""Lets a test set up logs as a run does, and undoes it: :func:`own_loggers`."""

import logging
from collections.abc import Iterator

import pytest
from detectron2.utils.logger import setup_logger


def own_loggers(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """For fixtures: each run sets up its logs anew, on the streams of its own test, and they are reset."""
    monkeypatch.setattr("posecore.engine.setup.setup_logger", setup_logger.__wrapped__)
    loggers = [logging.getLogger(name) for name in ("fvcore", "detectron2", "posecore")]
    yield
    for logger in loggers:
        logger.handlers.clear()
        logger.propagate = True
