"""Multi-scale deformable attention: the public function, and the same in plain torch.

Letters as in ``posecore.ops``, and: L levels, R cells of all levels together, H heads, P points of a head
on a level. Here G counts groups of heads, and C the channels that a head reads.
"""

from collections.abc import Sequence

import torch
from torch import Tensor

from posecore.ops.bilinear import bilinear


def ms_deform_attn(
    value: Tensor, shapes: Sequence[tuple[int, int]], locations: Tensor, weights: Tensor
) -> Tensor:
    """Sums, for every query and head, what it reads at its points on all levels.

    ``result[n, q, h] = sum over l, p of weights[n, q, h, l, p] * level l of value[n, :, g] read bilinearly
    at locations[n, q, h, l, p]``, where g = h for values split by head (G = H, the attention of Deformable
    DETR) and g = 0 where all heads read the same values (G = 1, the one of Poseur). Any G that divides H
    works: each group serves H / G heads that are neighbours.

    Args:
        value: (N, R, G, C) the levels one after another, each row by row; float16, bfloat16, float32 or
            float64.
        shapes: L pairs (height, width) of the levels, R cells in all.
        locations: (N, Q, H, L, P, 2) pairs (x, y), from 0 to 1 across a level: 0 is the left edge of its
            first cell, 1 the right edge of its last, so the centre of cell j of W is at (j + 0.5) / W.
            Cells outside count as zero.
        weights: (N, Q, H, L, P) used as they are.

    Returns:
        (N, Q, H, C), in the type of ``value``.
    """
    return ms_deform_attn_reference(value, shapes, locations, weights)


def ms_deform_attn_reference(
    value: Tensor, shapes: Sequence[tuple[int, int]], locations: Tensor, weights: Tensor
) -> Tensor:
    """What :func:`ms_deform_attn` computes, as gathers of plain torch: slow and plain."""
    pictures, _, groups, channels = value.shape
    _, queries, heads, _, _, _ = locations.shape
    picture = torch.arange(pictures, device=value.device).view(-1, 1, 1, 1)
    group = torch.arange(heads, device=value.device).view(-1, 1) // (heads // groups)

    total = locations.new_zeros(pictures, queries, heads, channels)
    first = 0
    for level, (height, width) in enumerate(shapes):
        cells = value[:, first : first + height * width].to(locations.dtype).unflatten(1, (height, width))
        x, y = locations[:, :, :, level].unbind(dim=-1)  # (N, Q, H, P)

        def read(row: Tensor, column: Tensor, cells: Tensor = cells) -> Tensor:
            return cells[picture, row, column, group]

        values = bilinear(read, x * width, y * height, height, width)  # (N, Q, H, P, C)
        total = total + (weights[:, :, :, level, :, None] * values).sum(dim=3)
        first += height * width
    return total.to(value.dtype)
