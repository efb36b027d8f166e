"""Writes files of checkpoints as a whole: :func:`write_whole` and :func:`save_content`.

:func:`check_not_read` keeps what is read from being replaced.
"""

import os
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any

import torch

from posecore.config.errors import UsageError

# The ending of files that are being written.
PART = ".part"


def write_whole(file: Path, write: Callable[[Path], object]) -> None:
    """Writes a file beside its place and moves it there, so that it is never there in part.

    Where writing fails, nothing is left of it.

    Args:
        file: its place.
        write: writes the file that it is given.
    """
    unfinished = file.with_name(file.name + PART)
    try:
        write(unfinished)
        with unfinished.open("rb") as written:
            os.fsync(written.fileno())
        os.replace(unfinished, file)
    finally:
        unfinished.unlink(missing_ok=True)


def check_not_read(file: Path, inputs: Iterable[str | Path | None], option: str = "--output") -> None:
    """Checks that a file that will be written is none of those that are read.

    Args:
        file: to be written.
        inputs: read; None and files that do not exist count for nothing.
        option: for the message.

    Raises:
        UsageError: it is one of them, by this name or by another one.
    """
    for other in inputs:
        if other and file.exists() and Path(other).exists() and file.samefile(other):
            raise UsageError(f"{option} {file} is read ({other}), and would be replaced: give another name")


def save_content(content: Any, file: Path) -> None:
    """``torch.save``, whose failures are errors of the operating system.

    torch ends its archive also where a write has failed, and the RuntimeError of that hides the reason.

    Raises:
        OSError: the file cannot be written, for instance because the disk is full; a part of it may be there.
    """
    try:
        with file.open("wb") as stream:
            torch.save(content, stream)
    except RuntimeError as error:
        reason: BaseException | None = error
        while reason is not None and not isinstance(reason, OSError):
            reason = reason.__context__
        if reason is None:
            raise
        raise OSError(reason.errno, reason.strerror, str(file)) from error
    except OSError as error:
        raise OSError(error.errno, error.strerror, str(file)) from error
