"""TensorFlow's "SAME" padding with fixed widths, for export: :func:`fixed_same_padding`.

timm's convolutions with this padding compute its width from the size of each map. While a model is exported
these sizes are symbols, and formulas of formulas of them take minutes to simplify. For maps whose sides the
stride divides, as those of images of a multiple of the backbone's stride, the widths are constants.
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


@contextmanager
def fixed_same_padding(model: nn.Module) -> Iterator[None]:
    """A context in which the convolutions of a model have fixed padding."""
    changed = [module for module in model.modules() if type(module) is Conv2dSame]
    for module in changed:
        module.__class__ = FixedSameConv2d
    try:
        yield
    finally:
        for module in changed:
            module.__class__ = Conv2dSame
