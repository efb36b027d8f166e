"""Multi-scale deformable attention: :func:`ms_deform_attn`, and a reference in plain torch.

The kernels are ``csrc/{cpu,cuda}/ms_deform_attn``; this module registers the operator's shapes, gradients and
types under autocast with torch, and makes it exportable. Letters: N images, L levels, R cells of all levels
together, Q queries, H heads, P points of a head on a level, G groups of heads, C channels that a head reads.
"""

from collections.abc import Sequence

import torch
from torch import Tensor

from posecore.ops.bilinear import bilinear
from posecore.ops.exporting import is_exporting
from posecore.ops.registration import refuse_second_backward, register_autocast


def ms_deform_attn(
    value: Tensor, shapes: Sequence[tuple[int, int]], locations: Tensor, weights: Tensor
) -> Tensor:
    """For every query and head, the weighted sum of the values at its points on all levels.

    ``result[n, q, h] = sum over l, p of weights[n, q, h, l, p] * level l of value[n, :, g] read bilinearly
    at locations[n, q, h, l, p]``, where g = h for values split by head (G = H, the attention of Deformable
    DETR) and g = 0 where all heads read the same values (G = 1, the one of Poseur). Any G that divides H
    works: each group serves H / G heads that are neighbors.

    ``value``, ``locations`` and ``weights`` get gradients; differentiating twice raises a ``RuntimeError``.
    Points that are far outside, infinite or NaN read zeros and have gradients of zero. Sums are in float32
    (float64 for float64 values). Under autocast ``value`` is taken in autocast's type, the others in
    float32.

    While a model is exported (``torch.export``, ``torch.onnx.export`` of torch 2.7 or later) this is
    :func:`ms_deform_attn_reference`, which other runtimes can run: gathers, no operator of ours, no
    GridSample.

    Args:
        value: (N, R, G, C) the levels one after another, each row by row; float16, bfloat16, float32 or
            float64.
        shapes: L pairs (height, width) of the levels, R cells in all.
        locations: (N, Q, H, L, P, 2) pairs (x, y), from 0 to 1 across a level: 0 is the left edge of its
            first cell, 1 the right edge of its last, so the center of cell j of W is at (j + 0.5) / W.
            Cells outside count as zero. float32, or float64 where ``value`` is float64.
        weights: (N, Q, H, L, P), used as they are; in the type of ``locations``.

    Returns:
        (N, Q, H, C), in the type of ``value``; contiguous.

    Raises:
        RuntimeError: shapes, types or devices do not fit; the message names the argument.
    """
    if is_exporting():
        return ms_deform_attn_reference(value, shapes, locations, weights)
    sides = [side for shape in shapes for side in shape]
    return torch.ops.posecore.ms_deform_attn(value, sides, locations, weights)


def ms_deform_attn_reference(
    value: Tensor, shapes: Sequence[tuple[int, int]], locations: Tensor, weights: Tensor
) -> Tensor:
    """The same as :func:`ms_deform_attn` in plain torch, by gathers; for export and for tests."""
    num_images, _, groups, channels = value.shape
    _, queries, heads, _, _, _ = locations.shape
    image = torch.arange(num_images, device=value.device).view(-1, 1, 1, 1)
    group = torch.arange(heads, device=value.device).view(-1, 1) // (heads // groups)

    total = locations.new_zeros(num_images, queries, heads, channels)
    first = 0
    for level, (height, width) in enumerate(shapes):
        cells = value[:, first : first + height * width].to(locations.dtype).unflatten(1, (height, width))
        x, y = locations[:, :, :, level].unbind(dim=-1)  # (N, Q, H, P)

        def read(row: Tensor, column: Tensor, cells: Tensor = cells) -> Tensor:
            return cells[image, row, column, group]

        values = bilinear(read, x * width, y * height, height, width)  # (N, Q, H, P, C)
        total = total + (weights[:, :, :, level, :, None] * values).sum(dim=3)
        first += height * width
    return total.to(value.dtype)


@torch.library.register_fake("posecore::ms_deform_attn")
def _(value: Tensor, shapes: Sequence[int], locations: Tensor, weights: Tensor) -> Tensor:
    return value.new_empty(*locations.shape[:3], value.shape[3])


@torch.library.register_fake("posecore::ms_deform_attn_grad_value")
def _(grad: Tensor, value: Tensor, shapes: Sequence[int], locations: Tensor, weights: Tensor) -> Tensor:
    return value.new_empty(value.shape)


@torch.library.register_fake("posecore::ms_deform_attn_grad_points")
def _(
    grad: Tensor, value: Tensor, shapes: Sequence[int], locations: Tensor, weights: Tensor
) -> tuple[Tensor, Tensor]:
    return locations.new_empty(locations.shape), weights.new_empty(weights.shape)


def _save_inputs(ctx, inputs, output) -> None:
    value, ctx.shapes, locations, weights = inputs
    ctx.save_for_backward(value, locations, weights)


def _backward(ctx, grad: Tensor):
    value, locations, weights = ctx.saved_tensors
    inputs = grad, value, ctx.shapes, locations, weights
    grad_value = grad_locations = grad_weights = None
    if ctx.needs_input_grad[0]:
        grad_value = torch.ops.posecore.ms_deform_attn_grad_value(*inputs)
    if ctx.needs_input_grad[2] or ctx.needs_input_grad[3]:
        grad_locations, grad_weights = torch.ops.posecore.ms_deform_attn_grad_points(*inputs)
    return grad_value, None, grad_locations, grad_weights


torch.library.register_autograd("posecore::ms_deform_attn", _backward, setup_context=_save_inputs)
refuse_second_backward("ms_deform_attn", "ms_deform_attn_grad_value", "ms_deform_attn_grad_points")
register_autocast("ms_deform_attn", precise=[2, 3])
