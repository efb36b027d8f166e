"""Converts images of samples for drawing, and writes images."""

from pathlib import Path

import cv2
import numpy as np
from torch import Tensor


def as_rgb(image: Tensor, image_format: str) -> np.ndarray:
    """The image of a sample as (H, W, 3) uint8 RGB.

    Args:
        image: (3, H, W) uint8, on the CPU.
        image_format: order of its channels, "RGB" or "BGR", as INPUT.FORMAT.
    """
    pixels = image.permute(1, 2, 0).numpy()
    return pixels if image_format == "RGB" else pixels[:, :, ::-1]


def write_image(file: str | Path, image: np.ndarray) -> None:
    """Writes an (H, W, 3) uint8 RGB image; the format follows from the file's ending.

    Raises:
        FileNotFoundError: the file cannot be written, most often because its folder does not exist.
    """
    if not cv2.imwrite(str(file), image[:, :, ::-1]):
        raise FileNotFoundError(f"image {file} cannot be written: does its folder exist?")
