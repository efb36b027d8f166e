"""Dynamic convolutions, a small network with generated weights for each instance: :class:`DynamicConv`.

Letters: Q instances of one image, C shared channels, D channels of each instance's own.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise

import torch
import torch.nn.functional as F
from torch import Tensor


@dataclass(frozen=True)
class Layer:
    """One layer of Q instances.

    Attributes:
        weight: (Q, out, in).
        bias: (Q, out).
    """

    weight: Tensor
    bias: Tensor


class DynamicConv:
    """A stack of 1x1 convolutions with ReLU between them, whose parameters are arguments of each call.

    The parameters of an instance are in one row, layer by layer: first the weight, output by output, then
    the bias.

    Args:
        widths: channels of the input (D own and C shared ones), of each hidden layer, of the output.
    """

    def __init__(self, widths: Sequence[int]) -> None:
        if len(widths) < 2:
            raise ValueError(f"widths must be those of an input and an output at least, not {widths}")
        self.widths = tuple(widths)

    @property
    def num_parameters(self) -> int:
        """Number of parameters of one instance."""
        return sum(before * after + after for before, after in pairwise(self.widths))

    def split(self, parameters: Tensor) -> list[Layer]:
        """(Q, num_parameters) -> the layers."""
        sizes = [size for before, after in pairwise(self.widths) for size in (before * after, after)]
        parts = parameters.split(sizes, dim=1)
        return [
            Layer(weight.unflatten(1, (after, before)), bias)
            for weight, bias, (before, after) in zip(
                parts[::2], parts[1::2], pairwise(self.widths), strict=True
            )
        ]

    def __call__(self, own: Tensor, shared: Tensor, parameters: Tensor) -> Tensor:
        """Applies each instance's network to its own maps and the shared ones.

        Shared maps are not copied for every instance.

        Args:
            own: (Q, D, H, W), the first channels of the input.
            shared: (C, H, W), the others.
            parameters: (Q, num_parameters).

        Returns:
            (Q, K, H, W) where K is the last width.
        """
        first, *rest = self.split(parameters)
        count, depth = own.shape[:2]
        weight = first.weight
        common = torch.addmm(
            first.bias.flatten()[:, None], weight[:, :, depth:].flatten(0, 1), shared.flatten(1)
        )
        maps = torch.baddbmm(
            common.unflatten(0, (count, self.widths[1])), weight[:, :, :depth], own.flatten(2)
        )
        for layer in rest:
            maps = torch.baddbmm(layer.bias[..., None], layer.weight, F.relu(maps, inplace=True))
        return maps.unflatten(2, shared.shape[1:])
