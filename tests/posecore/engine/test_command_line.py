"""The end of every tool: its exit status and its message."""

import argparse
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from posecore.checkpoint.weights import CheckpointError
from posecore.config.device import find_device
from posecore.config.merge import UsageError
from posecore.engine.command_line import (
    PLOTS,
    TRAINING_ERRORS,
    check_output_file,
    check_output_folder,
    positive,
    run_tool,
)


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


@pytest.mark.parametrize(
    ("error", "message"),
    [
        (
            FileNotFoundError(2, "No such file or directory", "a.json"),
            "x.py: a.json: No such file or directory",
        ),
        (NotADirectoryError(20, "Not a directory", "a/b"), "x.py: a/b: Not a directory"),
        (OSError(28, "No space left on device"), "x.py: No space left on device"),
        (CheckpointError("weights:\n\t lack a\n\t lack b"), "x.py: weights: lack a lack b"),
        (ValueError(), "x.py: ValueError"),
    ],
)
def test_the_message_is_one_line_that_begins_with_the_file(error, message):
    assert exit_code(error) == message


def end_of(work, errors=TRAINING_ERRORS):
    with pytest.raises(SystemExit) as end:
        run_tool(work, "x.py", errors=errors)
    return end.value.code


def test_in_a_training_a_value_error_counts_only_with_a_message_of_ours():
    assert "MODEL.DEVICE must be auto" in end_of(lambda: find_device("gpu"))
    with pytest.raises(ValueError, match="axis"):
        end_of(lambda: np.sort(np.zeros(3), axis=7))  # of a library, which does not know the user's keys
    with pytest.raises(ValueError, match="bins"):
        end_of(lambda: np.histogram([1], bins=-1))


def test_a_message_of_ours_is_one_that_a_raise_statement_wrote():
    """int() fails in a frame of posecore too, but nobody wrote its message."""
    module = {"__name__": "posecore.made_up"}
    exec("def raises(): raise ValueError('ours')\ndef fails(): int('x')", module)
    assert end_of(module["raises"]) == "x.py: ours"
    with pytest.raises(ValueError, match="invalid literal"):
        end_of(module["fails"])


def test_losses_that_are_not_finite_are_the_users():
    assert (
        exit_code(FloatingPointError("iteration 3: nan"), errors=TRAINING_ERRORS) == "x.py: iteration 3: nan"
    )


# A shell that starts it in the background lets it ignore SIGINT.
SCRIPT = """
import signal, sys
signal.signal(signal.SIGINT, signal.default_int_handler)
from posecore.engine.command_line import run_tool
def work():
    {work}
run_tool(work, "x.py")
"""


def ended(root: Path, work: str, more: str = "") -> subprocess.CompletedProcess:
    command = f"{sys.executable} -c '{SCRIPT.format(work=work)}' {more}"
    return subprocess.run(["bash", "-c", command], cwd=root, capture_output=True, text=True)


def test_ctrl_c_ends_with_one_line(root: Path) -> None:
    done = ended(root, "signal.raise_signal(signal.SIGINT)")
    assert done.returncode == 130
    assert done.stderr.splitlines()[-1] == "x.py: interrupted"
    assert "Traceback" not in done.stderr


def test_a_reader_that_goes_away_is_no_error(root: Path) -> None:
    done = ended(root, "[print(i) for i in range(10**5)]", "| head -n 1; exit ${PIPESTATUS[0]}")
    assert (done.returncode, done.stdout, "Traceback" in done.stderr) == (141, "0\n", False)


def test_outputs_are_checked_before_the_work(tmp_path: Path) -> None:
    check_output_file(tmp_path / "new" / "a.PNG", endings=PLOTS)
    assert (tmp_path / "new").is_dir()
    check_output_folder(tmp_path / "not" / "there" / "yet")
    assert not (tmp_path / "not").exists()
    (tmp_path / "file").touch()
    with pytest.raises(UsageError, match=r"--output .*file/a: its folder cannot be made: .*file: .*"):
        check_output_file(tmp_path / "file" / "a")
    with pytest.raises(UsageError, match=r"--plot .*new is a folder"):
        check_output_file(tmp_path / "new", "--plot")
    with pytest.raises(UsageError, match=r"--output .*a\.gif must end in one of \.png"):
        check_output_file(tmp_path / "a.gif", endings=PLOTS)
    for folder in (tmp_path / "file", tmp_path / "file" / "below"):
        with pytest.raises(
            UsageError, match=rf"OUTPUT_DIR {folder}: .*file is a file, where a folder should be"
        ):
            check_output_folder(folder, "OUTPUT_DIR")


@pytest.mark.parametrize("denied", ["folder", "folder/file"])
def test_outputs_without_permission_are_refused(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, denied: str
) -> None:
    (tmp_path / "folder").mkdir()
    (tmp_path / "folder/file").touch()
    # Permissions do not bind the superuser, as whom tests may run.
    monkeypatch.setattr("os.access", lambda path, mode: Path(path) != tmp_path / denied)
    with pytest.raises(UsageError, match="permission denied"):
        check_output_file(tmp_path / "folder" / ("file" if denied == "folder/file" else "new"))
    if denied == "folder":
        with pytest.raises(UsageError, match="permission denied"):
            check_output_folder(tmp_path / "folder" / "new")


@pytest.mark.parametrize("text", ["0", "-1", "1.5", "nan", "", "many", "\u00b2"])
def test_counts_are_whole_numbers_above_0(text: str) -> None:
    assert positive("12") == 12
    with pytest.raises(argparse.ArgumentTypeError, match="whole number of at least 1"):
        positive(text)
