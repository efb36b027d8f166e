"""Bilinear sampling of grouped channels at points: :func:`keypoint_sample`, and a reference in plain torch.

The kernels are ``csrc/{cpu,cuda}/keypoint_sample``; this module registers the operator's shapes, gradients
and types under autocast with torch. Letters as in ``posecore.ops``.
"""

import torch
from torch import Tensor

from posecore.ops.bilinear import bilinear
from posecore.ops.exporting import is_exporting
from posecore.ops.registration import refuse_second_backward, register_autocast


def keypoint_sample(value: Tensor, points: Tensor, images: Tensor) -> Tensor:
    """Samples maps bilinearly at points, with a separate point for each group of channels.

    The channels are split into G groups of C / G consecutive ones; row q reads those of group g from
    ``value[images[q]]`` at ``points[q, g]``. Both ``value`` and ``points`` get gradients;
    differentiating twice raises a ``RuntimeError``.

    Points are continuous and in cells of the map: the center of the cell in row i and column j is
    (j + 0.5, i + 0.5). Cells outside the map count as zero, so a point that is far outside, infinite
    or NaN reads zeros and has a gradient of zero.

    While a model is exported this is :func:`keypoint_sample_reference`, as for
    :func:`~posecore.ops.ms_deform_attn.ms_deform_attn`.

    It is fastest where the channels of a cell are neighbors in memory (``torch.channels_last``); the
    gradient of ``value`` has the memory format of ``value``. Sums are in float32 (float64 for float64
    values). Under autocast ``value`` is taken in autocast's type and ``points`` in float32.

    Args:
        value: (N, C, H, W) maps; float16, bfloat16, float32 or float64, with any strides.
        points: (Q, G, 2) pairs (x, y); float32, or float64 where ``value`` is float64.
        images: (Q,) the image of each row, from 0 to N - 1; int64.

    Returns:
        (Q, C), in the type of ``value``; contiguous.

    Raises:
        RuntimeError: shapes, types or devices do not fit; the message names the argument.
        IndexError: an image is out of range. On CUDA that is a device-side assertion, as it is for
            torch's own indexing.
    """
    if is_exporting():
        return keypoint_sample_reference(value, points, images)
    return torch.ops.posecore.keypoint_sample(value, points, images)


def keypoint_sample_reference(value: Tensor, points: Tensor, images: Tensor) -> Tensor:
    """The same as :func:`keypoint_sample` in plain torch, by four gathers; slow, for export and for tests."""
    channels, height, width = value.shape[1:]
    groups = points.shape[1]
    maps = value.unflatten(1, (groups, channels // groups)).to(points.dtype)
    group = torch.arange(groups, device=value.device)

    def read(row: Tensor, column: Tensor) -> Tensor:
        return maps[images[:, None], group, :, row, column]

    x, y = points.unbind(dim=-1)  # (Q, G)
    return bilinear(read, x, y, height, width).flatten(1).to(value.dtype)


@torch.library.register_fake("posecore::keypoint_sample")
def _(value: Tensor, points: Tensor, images: Tensor) -> Tensor:
    return value.new_empty(points.shape[0], value.shape[1])


@torch.library.register_fake("posecore::keypoint_sample_grad_value")
def _(grad: Tensor, value: Tensor, points: Tensor, images: Tensor) -> Tensor:
    return torch.empty_like(value)


@torch.library.register_fake("posecore::keypoint_sample_grad_points")
def _(grad: Tensor, value: Tensor, points: Tensor, images: Tensor) -> Tensor:
    return points.new_empty(points.shape)


def _save_inputs(ctx, inputs, output) -> None:
    ctx.save_for_backward(*inputs)


def _backward(ctx, grad: Tensor):
    grad_value = grad_points = None
    if ctx.needs_input_grad[0]:
        grad_value = torch.ops.posecore.keypoint_sample_grad_value(grad, *ctx.saved_tensors)
    if ctx.needs_input_grad[1]:
        grad_points = torch.ops.posecore.keypoint_sample_grad_points(grad, *ctx.saved_tensors)
    return grad_value, grad_points, None


torch.library.register_autograd("posecore::keypoint_sample", _backward, setup_context=_save_inputs)
refuse_second_backward("keypoint_sample", "keypoint_sample_grad_value", "keypoint_sample_grad_points")
register_autocast("keypoint_sample", precise=[1])
