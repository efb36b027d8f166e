"""The memory that the decoder attends to: the backbone's maps at one width, with their positions.

Letters: N images or crops, C channels of a map, E of the decoder, L levels, R cells of all levels together.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from posecore.layers.position import encode_cells

GROUPS = 32
# Cells are encoded at their centers.
CENTER = -0.5


@dataclass(frozen=True)
class Memory:
    """Feature maps, one after another.

    Attributes:
        values: (N, R, E), each level row by row.
        shapes: L pairs (height, width).
    """

    values: Tensor
    shapes: list[tuple[int, int]]


class ChannelMapper(nn.Module):
    """A 1x1 convolution and GroupNorm for each level.

    Args:
        in_channels: C of each level.
        channels: E.
    """

    def __init__(self, in_channels: Sequence[int], channels: int) -> None:
        super().__init__()
        self.levels = nn.ModuleList()
        for width in in_channels:
            conv = nn.Conv2d(width, channels, 1, bias=False)
            nn.init.xavier_uniform_(conv.weight)
            self.levels.append(nn.Sequential(conv, nn.GroupNorm(GROUPS, channels)))

    def forward(self, maps: Sequence[Tensor]) -> list[Tensor]:
        """(N, C_l, H_l, W_l) -> (N, E, H_l, W_l) for each level."""
        return [level(x) for level, x in zip(self.levels, maps, strict=True)]


class PositionedLevels(nn.Module):
    """Adds to each cell a sine encoding of its position, and to each level a learned vector.

    Args:
        channels: E.
        num_levels: L.
    """

    def __init__(self, channels: int, num_levels: int) -> None:
        super().__init__()
        self.embedding = nn.Parameter(torch.randn(num_levels, channels))

    def forward(self, maps: Sequence[Tensor]) -> Memory:
        """(N, E, H_l, W_l) for each level -> the memory."""
        values = [
            (level + positions(level) + own[:, None, None]).flatten(2).transpose(1, 2)
            for level, own in zip(maps, self.embedding, strict=True)
        ]
        return Memory(torch.cat(values, dim=1), [(level.shape[2], level.shape[3]) for level in maps])


def positions(level: Tensor) -> Tensor:
    """The encodings (1, E, H, W) of the cells of a map (N, E, H, W)."""
    _, channels, height, width = level.shape
    no_padding = torch.zeros(1, height, width, dtype=torch.bool, device=level.device)
    return encode_cells(no_padding, channels, offset=CENTER)
