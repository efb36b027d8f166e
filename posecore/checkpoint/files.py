"""Writes files of checkpoints as a whole: :func:`write_whole` and :func:`save_content`."""

import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch

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
