"""Deformable convolution: :func:`deform_conv2d`, and a reference in plain torch, which can be exported.

Letters: N images, C channels of the input and D of the output, H and W the size of the map, T = k * k taps
(sampling points) of a kernel of k x k.
"""

import torch
import torchvision.ops
from torch import Tensor

from posecore.ops.bilinear import bilinear
from posecore.ops.exporting import is_exporting


def deform_conv2d(maps: Tensor, offsets: Tensor, weight: Tensor) -> Tensor:
    """A convolution of odd kernel size whose taps are moved by offsets of each cell; the size stays.

    It is torchvision's; while a model is exported it is :func:`deform_conv2d_reference`.

    Args:
        maps: (N, C, H, W).
        offsets: (N, 2T, H, W), y and x of each tap in cells, row by row of the kernel.
        weight: (D, C, k, k).

    Returns:
        (N, D, H, W).
    """
    if is_exporting():
        return deform_conv2d_reference(maps, offsets, weight)
    return torchvision.ops.deform_conv2d(maps, offsets, weight, padding=weight.shape[-1] // 2)


def deform_conv2d_reference(maps: Tensor, offsets: Tensor, weight: Tensor) -> Tensor:
    """The same as :func:`deform_conv2d` by gathers; slow, for export and for tests."""
    count, channels, height, width = maps.shape
    side = weight.shape[-1]
    taps = torch.arange(side, device=maps.device) - side // 2
    moved = offsets.unflatten(1, (-1, 2)).permute(0, 3, 4, 1, 2)  # (N, H, W, T, 2)
    rows = torch.arange(height, device=maps.device)[:, None, None] + 0.5
    columns = torch.arange(width, device=maps.device)[:, None] + 0.5
    y = rows + taps.repeat_interleave(side) + moved[..., 0]
    x = columns + taps.repeat(side) + moved[..., 1]
    cells = maps.flatten(2).transpose(1, 2).flatten(0, 1)  # (N * H * W, C)
    first = torch.arange(count, device=maps.device).view(-1, 1, 1, 1) * (height * width)

    def read(row: Tensor, column: Tensor) -> Tensor:
        index = first + row * width + column
        return cells.index_select(0, index.flatten()).reshape(*index.shape, channels)

    values = bilinear(read, x, y, height, width)  # (N, H, W, T, C)
    kernel = weight.permute(2, 3, 1, 0).reshape(-1, weight.shape[0])
    return (values.flatten(3) @ kernel).permute(0, 3, 1, 2)
