"""Converts images of samples for drawing, and writes figures."""

from pathlib import Path

import numpy as np
from matplotlib.figure import Figure
from torch import Tensor

from posecore.data.image_writer import named_write_errors


def as_rgb(image: Tensor, image_format: str) -> np.ndarray:
    """The image of a sample as (H, W, 3) uint8 RGB.

    Args:
        image: (3, H, W) uint8, on the CPU.
        image_format: order of its channels, "RGB" or "BGR", as INPUT.FORMAT.
    """
    pixels = image.permute(1, 2, 0).numpy()
    return pixels if image_format == "RGB" else pixels[:, :, ::-1]


def write_figure(file: str | Path, figure: Figure) -> None:
    """Writes a figure of matplotlib; the format follows from the file's ending.

    Raises:
        FileNotFoundError: the folder of the file does not exist.
        ValueError: the file cannot be written, or its ending names no format; the message names it.
    """
    with named_write_errors(file):
        figure.savefig(file, dpi=110)
