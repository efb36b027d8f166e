"""Writes image files: :func:`write_image`; files with errors that name them: :func:`named_write_errors`."""

import contextlib
import os
from collections.abc import Iterator
from pathlib import Path

import cv2
import numpy as np


def write_image(file: str | Path, image: np.ndarray) -> None:
    """Writes an (H, W, 3) uint8 RGB image, as a whole or not at all; the format follows from its ending.

    Raises:
        FileNotFoundError: the folder of the file does not exist.
        ValueError: the file cannot be written, or its ending names no format; the message names it.
    """
    try:
        success, content = cv2.imencode(Path(file).suffix, image[:, :, ::-1])
    except cv2.error:
        success = False
    if not success:
        raise ValueError(
            f"image {file} cannot be written: {image.shape[1]} x {image.shape[0]} pixels do not fit a format "
            f"of the ending {Path(file).suffix!r}; .png and .jpg are possible endings"
        )
    with named_write_errors(file):
        unfinished = Path(f"{file}.part")
        try:
            unfinished.write_bytes(content.tobytes())
            os.replace(unfinished, file)
        finally:
            unfinished.unlink(missing_ok=True)


@contextlib.contextmanager
def named_write_errors(file: str | Path) -> Iterator[None]:
    """Errors of writing a file name it."""
    try:
        yield
    except FileNotFoundError as error:
        raise FileNotFoundError(f"image {file} cannot be written: does its folder exist?") from error
    except (OSError, ValueError) as error:
        reason = error.strerror if isinstance(error, OSError) else error
        raise ValueError(f"image {file} cannot be written: {reason}") from error
