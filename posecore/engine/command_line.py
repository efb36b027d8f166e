"""What the tools share: options of how runs are started, checks of outputs, and :func:`run_tool`.

:func:`run_tool` ends every tool: with one line for what the user can mend, with a traceback for a fault of
this project.
"""

import argparse
import dis
import logging
import os
import sys
from collections.abc import Callable, Sequence
from importlib.metadata import entry_points
from pathlib import Path
from typing import NoReturn

from posecore.checkpoint.errors import CheckpointError
from posecore.checkpoint.files import check_not_read as check_not_read  # which the tools find here
from posecore.config import METHODS
from posecore.config.merge import UsageError

# What the user can mend; the messages say how. OSError: files that are missing or cannot be written.
USER_ERRORS: tuple[type[Exception], ...] = (UsageError, CheckpointError, OSError, ValueError)
# The same in a training, where a ValueError can come from the model: only those count whose message this
# project wrote. FloatingPointError: losses that are not finite.
TRAINING_ERRORS: tuple[type[Exception], ...] = (UsageError, CheckpointError, OSError, FloatingPointError)

# Endings of images that OpenCV writes, and of plots, which matplotlib writes.
IMAGES = (".png", ".jpg", ".jpeg", ".webp", ".tif", ".tiff")
PLOTS = (*IMAGES, ".pdf", ".svg")
# Those of pages of :mod:`posecore.reports`.
PAGES = (".html", ".htm")

# As shells have it for a process that Ctrl-C ended, and for one whose reader (`| head`) went away.
INTERRUPTED = 130
BROKEN_PIPE = 141


def run_tool(
    main: Callable[[], int | None], name: str, errors: tuple[type[Exception], ...] = USER_ERRORS
) -> NoReturn:
    """Calls ``main`` and ends the process.

    The exit status is what ``main`` returns, 0 for None. After an error that the user can mend it is 1, and
    stderr has ``name: message`` in one line; any other exception keeps its traceback. The user can mend
    ``errors``, and every ValueError that a statement of this project or of a method raised.

    Args:
        main: parses the command line and does the work.
        name: the tool's file name, with which the message begins.
        errors: exceptions that the user can mend.
    """
    # Where a log cannot be written, as on a full disk, Python would print a traceback and go on.
    logging.raiseExceptions = False
    try:
        status = main()
        sys.stdout.flush()
    except BrokenPipeError:
        # Python would write to the closed pipe once more when it ends.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        sys.exit(BROKEN_PIPE)
    except KeyboardInterrupt:
        print(f"{name}: interrupted", file=sys.stderr)
        sys.exit(INTERRUPTED)
    except Exception as error:
        if not can_be_mended(error, errors):
            raise
        sys.exit(f"{name}: {error_message(error)}")
    sys.exit(status)


def can_be_mended(error: Exception, errors: tuple[type[Exception], ...] = USER_ERRORS) -> bool:
    """Whether the user can mend an error: it is one of ``errors``, or a ValueError with a message of ours."""
    return isinstance(error, errors) or _has_own_message(error)


def error_message(error: Exception) -> str:
    """The message of an error in one line; an error of the operating system begins with its file."""
    text = str(error)
    if isinstance(error, OSError) and error.strerror:
        files = [str(file) for file in (error.filename, error.filename2) if file is not None]
        text = ": ".join([*files, error.strerror])
    return " ".join(text.split()) or type(error).__name__


def _has_own_message(error: Exception) -> bool:
    """Whether a ValueError comes from a ``raise`` of this project or of a method, not from a library."""
    if not isinstance(error, ValueError):
        return False
    raised = error.__traceback__
    while raised is not None and raised.tb_next is not None:
        raised = raised.tb_next
    if raised is None:
        return False
    code = raised.tb_frame.f_code.co_code
    packages = {"posecore", *(point.module.partition(".")[0] for point in entry_points(group=METHODS))}
    module = raised.tb_frame.f_globals.get("__name__", "").partition(".")[0]
    return module in packages and code[raised.tb_lasti] == dis.opmap["RAISE_VARARGS"]


def check_output_file(file: Path, option: str = "--output", endings: Sequence[str] = ()) -> None:
    """Checks, before the work is done, that its result can be written, and makes the file's folder.

    Args:
        file: to be written; one that is there will be replaced.
        option: for the message.
        endings: those that the file may have, such as ".png"; none for any.

    Raises:
        UsageError: the file is a folder or a device, has another ending, or its folder cannot be made or
            written into.
    """
    if endings and file.suffix.lower() not in endings:
        raise UsageError(f"{option} {file} must end in one of {', '.join(endings)}")
    if file.is_dir():
        raise UsageError(f"{option} {file} is a folder: give the name of a file")
    if file.exists() and not file.is_file():  # a device would be replaced by a file
        raise UsageError(f"{option} {file} is a device or a pipe: give the name of a file")
    try:
        file.parent.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise UsageError(f"{option} {file}: its folder cannot be made: {error_message(error)}") from error
    if not os.access(file if file.exists() else file.parent, os.W_OK):
        raise UsageError(f"{option} {file} cannot be written: permission denied")


def check_output_folder(folder: Path, option: str = "--output") -> None:
    """Checks, before the work is done, that files can be written into a folder, which may not exist yet.

    Raises:
        UsageError: it is a file, lies below one, or cannot be written into.
    """
    there = next(path for path in (folder, *folder.absolute().parents) if path.exists())
    if not there.is_dir():
        raise UsageError(f"{option} {folder}: {there} is a file, where a folder should be")
    if not os.access(there, os.W_OK | os.X_OK):
        raise UsageError(f"{option} {folder} cannot be written: permission denied for {there}")


def positive(text: str) -> int:
    """The value of an option that counts something, at least 1; for argparse's ``type``."""
    if not text.isdecimal() or int(text) < 1:
        raise argparse.ArgumentTypeError(f"must be a whole number of at least 1, not {text!r}")
    return int(text)


def count(text: str) -> int:
    """The value of an option that may be 0; for argparse's ``type``."""
    if not text.isdecimal():
        raise argparse.ArgumentTypeError(f"must be a whole number of at least 0, not {text!r}")
    return int(text)


def add_launcher_options(parser: argparse.ArgumentParser) -> None:
    """Adds the options of how a run is started: --num-gpus and --launcher."""
    parser.add_argument("--num-gpus", type=positive, default=1, help="processes per run, on this machine (1)")
    parser.add_argument(
        "--launcher",
        default="",
        help="replaces this Python, such as 'torchrun --nproc_per_node 8' or 'srun -n 8 python'",
    )


def add_run_options(parser: argparse.ArgumentParser) -> None:
    """Adds the options of how several runs are started, those of :func:`add_launcher_options` among them."""
    add_launcher_options(parser)
    parser.add_argument("--eval-only", action="store_true", help="evaluate MODEL.WEIGHTS, train nothing")
    parser.add_argument(
        "--jobs",
        type=positive,
        metavar="N",
        help="runs at once, each on its GPUs, its screen in its folder (1; with --slurm all)",
    )
    parser.add_argument("--slurm", action="store_true", help="submit the runs to Slurm, and wait for them")
    parser.add_argument(
        "--slurm-option",
        action="append",
        default=[],
        metavar="NAME=VALUE",
        help="a parameter of submitit, such as timeout_min=600 or slurm_partition=gpu; repeatable",
    )
    parser.add_argument(
        "--print", action="store_true", help="print the commands, one per line, instead of running them"
    )


def slurm_parameters(options: argparse.Namespace) -> dict[str, str] | None:
    """The parameters of --slurm-option; None without --slurm.

    Raises:
        UsageError: an option is no NAME=VALUE, or --slurm is missing.
    """
    if not options.slurm:
        if options.slurm_option:
            raise UsageError("--slurm-option has no effect without --slurm: add --slurm")
        return None
    for text in options.slurm_option:
        if not all(text.partition("=")):
            raise UsageError(f"--slurm-option must be NAME=VALUE, not {text!r}")
    return {name: value for name, _, value in (text.partition("=") for text in options.slurm_option)}
