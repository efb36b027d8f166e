"""Writes checkpoints: :func:`save_content`."""

from pathlib import Path
from typing import Any

import torch


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
