"""Sine encodings of positions: of points (:func:`encode_points`) and of cells (:func:`encode_cells`).

Each axis fills half of the channels. Channel c of an axis with D channels is the sine (c even) or cosine
(c odd) of angle / 10000^(2 floor(c / 2) / D), as in "Attention is all you need".
"""

import math

import torch
from torch import Tensor

TEMPERATURE = 10000.0
# Added to the number of cells, as in the code of DETR and its descendants.
EPSILON = 1e-6


def sine_encoding(angles: Tensor, channels: int) -> Tensor:
    """(...) angles in radians -> (..., channels), sines and cosines in turn.

    Raises:
        ValueError: the number of channels is odd.
    """
    if channels % 2:
        raise ValueError(
            f"the channels of an axis must be even, for pairs of sine and cosine, not {channels}"
        )
    exponents = torch.arange(0, channels, 2, dtype=torch.float32, device=angles.device) / channels
    phases = angles[..., None].float() / TEMPERATURE**exponents
    return torch.stack([phases.sin(), phases.cos()], dim=-1).flatten(-2)


def encode_points(points: Tensor, channels: int) -> Tensor:
    """Encodes points, the half of x first; an angle of 2 pi is the width or the height.

    Args:
        points: (..., 2), x and y relative to width and height; values outside [0, 1] are allowed.
        channels: of the encoding, a multiple of four.

    Returns:
        (..., channels).
    """
    return sine_encoding(2 * math.pi * points, channels // 2).flatten(-2)


def encode_cells(padding: Tensor, channels: int, *, offset: float = 0.0) -> Tensor:
    """Encodes the cells of maps, the half of y first; an angle of 2 pi is the extent without padding.

    The angle of the i-th of n cells of a row or column, counted from 1 and without the padding, is
    2 pi (i + offset) / (n + 1e-6). An offset of 0 stands for a cell's far edge, as in DETR, -0.5 for its
    center.

    Args:
        padding: (N, H, W) bool, True where the map is padding.
        channels: of the encoding, a multiple of four.
        offset: in cells.

    Returns:
        (N, channels, H, W), float32.
    """
    axes = []
    for axis in (1, 2):
        counts = (~padding).cumsum(axis, dtype=torch.float32)
        last = counts.narrow(axis, counts.shape[axis] - 1, 1)
        angles = (counts + offset) / (last + EPSILON) * (2 * math.pi)
        axes.append(sine_encoding(angles, channels // 2))
    return torch.cat(axes, dim=-1).movedim(-1, 1)
