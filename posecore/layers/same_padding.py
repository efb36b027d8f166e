"""TensorFlow's "SAME" padding with fixed widths: :func:`fixed_same_padding` for export,
:func:`fix_divisible_same_padding` for compilation.

timm's convolutions with this padding compute its width from the size of each map. While a model is exported
or compiled these sizes are symbols, and formulas of formulas of them take minutes to simplify. For maps whose
sides the stride divides, as those of images of a multiple of the backbone's stride, the widths are constants.
"""

from collections.abc import Iterator
from contextlib import contextmanager

import torch.nn.functional as F
from timm.layers import Conv2dSame
from torch import Tensor, nn


class FixedSameConv2d(Conv2dSame):
    """A convolution with "SAME" padding of maps whose sides its stride divides."""

    def forward(self, x: Tensor) -> Tensor:
        """(N, C, H, W) -> (N, C', H / stride, W / stride)."""
        height, width = (
            max((size - 1) * dilation + 1 - stride, 0)
            for size, dilation, stride in zip(self.kernel_size, self.dilation, self.stride, strict=True)
        )
        x = F.pad(x, (width // 2, width - width // 2, height // 2, height - height // 2))
        return F.conv2d(x, self.weight, self.bias, self.stride, 0, self.dilation, self.groups)


class DivisibleSameConv2d(FixedSameConv2d):
    """A convolution with "SAME" padding of all maps, of fixed width where its stride divides their sides."""

    def forward(self, x: Tensor) -> Tensor:
        """(N, C, H, W) -> (N, C', ceil(H / stride), ceil(W / stride))."""
        if all(side % stride == 0 for side, stride in zip(x.shape[2:], self.stride, strict=True)):
            return super().forward(x)
        return Conv2dSame.forward(self, x)


def fix_divisible_same_padding(model: nn.Module) -> None:
    """Gives a model's convolutions fixed padding of the maps whose sides the strides divide; in place.

    What they compute stays the same for all maps.
    """
    for module in _same_convolutions(model):
        module.__class__ = DivisibleSameConv2d


@contextmanager
def fixed_same_padding(model: nn.Module) -> Iterator[None]:
    """A context in which the convolutions of a model have fixed padding."""
    before = [(module, type(module)) for module in _same_convolutions(model)]
    for module, _ in before:
        module.__class__ = FixedSameConv2d
    try:
        yield
    finally:
        for module, kind in before:
            module.__class__ = kind


def _same_convolutions(model: nn.Module) -> list[nn.Module]:
    return [module for module in model.modules() if isinstance(module, Conv2dSame)]
