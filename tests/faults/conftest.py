"""Fixtures of the tests on faulty inputs: their folder, and tools that are started as a user does."""

import logging
import runpy
import sys
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import pytest
from helpers.files import shared_folder


@pytest.fixture(scope="session")
def faults(shared: Path) -> Path:
    """A folder for each faulty input, whose README says what is wrong and what is expected."""
    return shared_folder(shared, "faults")


@dataclass(frozen=True)
class ToolRun:
    """The end of a tool.

    Attributes:
        status: of the process.
        said: what it wrote to the screen and to its logs.
    """

    status: int
    said: str


@pytest.fixture
def run(
    root: Path,
    monkeypatch: pytest.MonkeyPatch,
    capfd: pytest.CaptureFixture[str],
    caplog: pytest.LogCaptureFixture,
) -> Callable[..., ToolRun]:
    """Starts a tool by its path, in this process; any exception but its end fails the test."""
    monkeypatch.setenv("OMP_NUM_THREADS", "1")
    caplog.set_level(logging.WARNING)

    def start(tool: str, *arguments: object) -> ToolRun:
        monkeypatch.setattr(sys, "argv", [f"{tool}.py", *map(str, arguments)])
        with pytest.raises(SystemExit) as end:
            runpy.run_path(str(root / "tools" / f"{tool}.py"), run_name="__main__")
        status = end.value.code or 0
        message = f"\n{status}" if isinstance(status, str) else ""
        output, errors = capfd.readouterr()
        assert "Traceback" not in output + errors
        return ToolRun(
            1 if isinstance(status, str) else status, "\n".join([output, errors, caplog.text, message])
        )

    return start
