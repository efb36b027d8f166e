"""The end of every tool: its exit status and its message."""

import pytest

from posecore.checkpoint.weights import CheckpointError
from posecore.config.merge import UsageError
from posecore.engine.command_line import run_tool


def exit_code(result=None, **settings):
    """What the process ends with when the tool returns, or raises, ``result``."""

    def main():
        if isinstance(result, Exception):
            raise result
        return result

    with pytest.raises(SystemExit) as end:
        run_tool(main, "x.py", **settings)
    return end.value.code


def test_the_status_is_what_the_tool_returns():
    assert exit_code(None) is None
    assert exit_code(0) == 0
    assert exit_code(1) == 1


@pytest.mark.parametrize("kind", [UsageError, CheckpointError, FileNotFoundError, ValueError])
def test_errors_of_use_are_one_line(kind):
    assert exit_code(kind("no such thing")) == "x.py: no such thing"


def test_other_errors_keep_their_traceback():
    with pytest.raises(RuntimeError, match="broken"):
        exit_code(RuntimeError("broken"))
    with pytest.raises(ValueError, match="in the middle of a training"):
        exit_code(ValueError("in the middle of a training"), errors=(UsageError,))
