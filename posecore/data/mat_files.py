"""Reads MATLAB's files, up to version 7: :func:`read_mat`."""

from functools import partial
from pathlib import Path
from typing import Any

import scipy.io

from posecore.data.guarded_reading import CrashError, read_guarded


def read_mat(file: Path, names: list[str], *, squeezed: bool = False) -> dict[str, Any]:
    """The variables of a file that have one of the names.

    Args:
        file: to be read.
        names: of variables.
        squeezed: whether axes of length 1 are dropped, and structures become objects.

    Raises:
        ValueError: the file cannot be read; the message names it.
    """
    read = partial(scipy.io.loadmat, variable_names=names, squeeze_me=squeezed, struct_as_record=not squeezed)
    try:
        return read_guarded(read, file)
    except CrashError:
        raise
    except NotImplementedError as error:
        raise ValueError(
            f"{file} is not a readable MATLAB file: it is of version 7.3, an HDF5 file; save it in MATLAB "
            "with the option -v7"
        ) from error
    # scipy raises errors of many kinds at files that are broken.
    except Exception as error:
        raise ValueError(f"{file} is not a readable MATLAB file: {error}") from error


def mat_names(file: Path) -> set[str]:
    """The names of the variables of a file; none where it cannot be read."""
    try:
        return {name for name, _, _ in read_guarded(scipy.io.whosmat, file)}
    except Exception:
        return set()
