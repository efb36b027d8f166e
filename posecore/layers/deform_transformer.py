"""A transformer over the cells of a pyramid, by deformable attention: ``DeformableEncoder`` and its layers.

A :class:`DeformableLayer` is a layer of the encoder, and the half of a decoder layer that reads the cells.
Source: Deformable DETR (arXiv 2010.04159), Section 4. Letters: N images, L levels, R cells of all levels
together, Q queries, D width.
"""

from collections.abc import Sequence
from dataclasses import dataclass, replace

import torch
from torch import Tensor, nn

from posecore.layers.deform_attention import MSDeformAttention
from posecore.layers.feed_forward import FeedForward, Residual, draw_linear_weights
from posecore.layers.norm import make_norm
from posecore.layers.position import TEMPERATURE, encode_cells


@dataclass(frozen=True)
class PyramidCells:
    """The cells of a pyramid, one level after another, each row by row.

    Points are relative to the image: 0 to 1 across its width and height without padding.

    Attributes:
        values: (N, R, D).
        shapes: L pairs (height, width) of the levels.
        padding: (N, R) bool, True where a cell is padding.
        centers: (N, R, 2) centers (x, y) of the cells; those of padding are above 1.
        shares: (N, L, 2) share of each level's width and height that the image takes; the rest is padding.
    """

    values: Tensor
    shapes: Sequence[tuple[int, int]]
    padding: Tensor
    centers: Tensor
    shares: Tensor

    def references(self, points: Tensor) -> Tensor:
        """(N, Q, 2) points of the image -> (N, Q, L, 1, 2) relative to each level with its padding."""
        return (points[:, :, None] * self.shares[:, None])[:, :, :, None]


def pyramid_cells(maps: Sequence[Tensor], paddings: Sequence[Tensor]) -> PyramidCells:
    """The cells of L maps.

    Args:
        maps: of each level (N, D, H, W).
        paddings: of each level (N, H, W) bool, True where a cell is padding; the image is at the upper left.
    """
    shapes = [(x.shape[2], x.shape[3]) for x in maps]
    centers, shares = [], []
    for padding, (height, width) in zip(paddings, shapes, strict=True):
        # The extent of the image in cells, (N, 1).
        columns = (~padding[:, 0]).sum(dim=1, keepdim=True)
        rows = (~padding[:, :, 0]).sum(dim=1, keepdim=True)
        y, x = torch.meshgrid(
            torch.arange(height, device=padding.device),
            torch.arange(width, device=padding.device),
            indexing="ij",
        )
        x, y = (x.flatten() + 0.5) / columns, (y.flatten() + 0.5) / rows
        centers.append(torch.stack([x, y], dim=-1))
        shares.append(torch.stack([columns / width, rows / height], dim=-1))
    return PyramidCells(
        values=torch.cat([x.flatten(2).transpose(1, 2) for x in maps], dim=1),
        shapes=shapes,
        padding=torch.cat([padding.flatten(1) for padding in paddings], dim=1),
        centers=torch.cat(centers, dim=1),
        shares=torch.cat(shares, dim=1),
    )


class PyramidProjection(nn.Module):
    """Brings the maps of a backbone to one width, and adds coarser levels.

    Each map goes through a 1x1 convolution. The levels above come from 3x3 convolutions of stride 2, the
    first of the last map itself, each further one of the level below it. GroupNorm follows every convolution.

    Args:
        in_channels: channels of the maps, finest first.
        width: D.
        num_extra: number of further levels.
    """

    def __init__(self, in_channels: Sequence[int], width: int, num_extra: int = 1) -> None:
        super().__init__()
        convs = [nn.Conv2d(channels, width, 1) for channels in in_channels]
        below = [in_channels[-1], *[width] * num_extra]
        convs += [nn.Conv2d(below[i], width, 3, stride=2, padding=1) for i in range(num_extra)]
        for conv in convs:
            nn.init.xavier_uniform_(conv.weight)
            nn.init.constant_(conv.get_parameter("bias"), 0)
        self.levels = nn.ModuleList(nn.Sequential(conv, make_norm("GN", width)) for conv in convs)

    def forward(self, maps: Sequence[Tensor]) -> list[Tensor]:
        """Maps (N, C_l, H_l, W_l) -> (N, D, H_l, W_l) of every level, finest first."""
        levels = [level(x) for level, x in zip(self.levels, maps, strict=False)]
        last = maps[-1]
        for level in list(self.levels)[len(maps) :]:
            last = level(last)
            levels.append(last)
        return levels


class DeformableLayer(nn.Module):
    """Deformable attention of queries to the cells of a pyramid, and a feed-forward layer.

    Linear layers start from Xavier's uniform distribution, the attention as in :class:`MSDeformAttention`.

    Args:
        width: D.
        heads: number of heads of the attention.
        levels: L.
        points: points of each head on each level.
        hidden: width of the feed-forward layer.
        dropout: probability of dropout.
    """

    def __init__(
        self, width: int, heads: int, levels: int, points: int, hidden: int, dropout: float = 0.0
    ) -> None:
        super().__init__()
        self.attention = MSDeformAttention(width, heads, levels, points)
        self.after_attention = Residual(width, dropout)
        self.feed_forward = FeedForward(width, hidden, dropout)
        self.after_feed_forward = Residual(width, dropout)
        draw_linear_weights(self.feed_forward)

    def forward(self, x: Tensor, query: Tensor, points: Tensor, memory: PyramidCells) -> Tensor:
        """From values to values; no value sees another one, only the memory.

        Args:
            x: (N, Q, D) values, which the sublayers add to.
            query: (N, Q, D), the values with the encodings of their positions.
            points: (N, Q, 2) where each query looks, relative to the image.
            memory: the cells.

        Returns:
            (N, Q, D).
        """
        references = memory.references(points)
        update = self.attention(query, references, memory.values, memory.shapes, memory.padding)
        x = self.after_attention(x, update)
        return self.after_feed_forward(x, self.feed_forward(x))


class DeformableEncoder(nn.Module):
    """Lets the cells of a pyramid attend to each other.

    A cell looks from its center, on every level. The encodings of positions are sines and a learned vector
    for each level; they are added to the queries alone.

    Args:
        layers: the layers, first one first.
        levels: L.
        width: D.
        temperature: T of the sines (:mod:`posecore.layers.position`).
    """

    def __init__(
        self, layers: Sequence[DeformableLayer], levels: int, width: int, temperature: float = TEMPERATURE
    ) -> None:
        super().__init__()
        self.layers = nn.ModuleList(layers)
        self.level_embedding = nn.Parameter(torch.randn(levels, width))
        self.temperature = temperature

    def forward(self, maps: Sequence[Tensor], paddings: Sequence[Tensor]) -> PyramidCells:
        """The encoded cells; arguments as for :func:`pyramid_cells`."""
        cells = pyramid_cells(maps, paddings)
        positions = self.positions(paddings)
        for layer in self.layers:
            values = layer(cells.values, cells.values + positions, cells.centers, cells)
            cells = replace(cells, values=values)
        return cells

    def positions(self, paddings: Sequence[Tensor]) -> Tensor:
        """(N, R, D) encodings of the cells' positions."""
        channels = self.level_embedding.shape[1]
        encodings = [
            encode_cells(padding, channels, temperature=self.temperature).flatten(2).transpose(1, 2) + level
            for padding, level in zip(paddings, self.level_embedding, strict=True)
        ]
        return torch.cat(encodings, dim=1)
