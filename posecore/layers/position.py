"""Positions: sine encodings of points and cells, and :func:`inverse_sigmoid`, the logits of coordinates.

Each axis fills half of the channels. Channel c of an axis with D channels is the sine (c even) or cosine
(c odd) of angle / T^(2 floor(c / 2) / D) with the temperature T, 10000 in "Attention is all you need".
"""

import math
from collections.abc import Callable

import torch
from torch import Tensor

from posecore.layers.precision import full_precision

TEMPERATURE = 10000.0
# Added to the number of cells, as in the code of DETR and its descendants.
EPSILON = 1e-6
# Nearest to 0 and 1 that a coordinate may be for the inverse of the sigmoid, as in GroupPose's official code.
NEAREST = 1e-3


def sine_encoding(angles: Tensor, channels: int, temperature: float = TEMPERATURE) -> Tensor:
    """(...) angles in radians -> (..., channels), sines and cosines in turn.

    Args:
        angles: radians.
        channels: number of channels, even.
        temperature: T.

    Raises:
        ValueError: the number of channels is odd.
    """
    if channels % 2:
        raise ValueError(
            f"the channels of an axis must be even, for pairs of sine and cosine, not {channels}"
        )
    exponents = torch.arange(0, channels, 2, dtype=torch.float32, device=angles.device) / channels
    phases = angles[..., None].float() / temperature**exponents
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


def encode_cells(
    padding: Tensor, channels: int, *, offset: float = 0.0, temperature: float = TEMPERATURE
) -> Tensor:
    """Encodes the cells of maps, the half of y first; an angle of 2 pi is the extent without padding.

    The angle of the i-th of n cells of a row or column, counted from 1 and without the padding, is
    2 pi (i + offset) / (n + 1e-6). An offset of 0 stands for a cell's far edge, as in DETR, -0.5 for its
    center.

    Args:
        padding: (N, H, W) bool, True where the map is padding.
        channels: of the encoding, a multiple of four.
        offset: in cells.
        temperature: T.

    Returns:
        (N, channels, H, W), float32.
    """
    axes = []
    for axis in (1, 2):
        counts = (~padding).cumsum(axis, dtype=torch.float32)
        last = counts.narrow(axis, counts.shape[axis] - 1, 1)
        angles = (counts + offset) / (last + EPSILON) * (2 * math.pi)
        axes.append(sine_encoding(angles, channels // 2, temperature))
    return torch.cat(axes, dim=-1).movedim(-1, 1)


def inverse_sigmoid(coordinates: Tensor) -> Tensor:
    """The logits of coordinates in [0, 1], in full precision, of which none is nearer to 0 or 1 than NEAREST.

    Beyond these limits a gradient of 1 / x (or 1 / (1 - x)) is left out, and the other one remains.
    """
    values = full_precision(coordinates)
    return (values.clamp(min=NEAREST) / (1 - values).clamp(min=NEAREST)).log()


# (..., D) tokens and encodings of their positions -> the queries and keys of an attention, and what its
# values and residuals are.
PositionRule = Callable[[Tensor, Tensor], tuple[Tensor, Tensor]]


def added(tokens: Tensor, positions: Tensor) -> tuple[Tensor, Tensor]:
    """Positions are added to queries and keys alone (DETR, Figure 10)."""
    return tokens + positions, tokens


def in_place(tokens: Tensor, positions: Tensor) -> tuple[Tensor, Tensor]:
    """Positions become part of the tokens, also of values and residuals, as in GroupPose's official code."""
    return tokens + positions, tokens + positions
