"""Deformable attention: a query attends to a few learned points on every level of a pyramid.

Letters: N images, Q queries, E channels of queries and maps, R cells of all levels together, L levels,
H heads, n reference points of a query, P points around each of them.
"""

import math
from abc import ABC, abstractmethod
from collections.abc import Sequence
from typing import Literal

import torch
from torch import Tensor, nn

from posecore.layers.precision import full_precision
from posecore.ops import ms_deform_attn

# The initialization of a new layer; see DeformAttention.
Init = Literal["zero", "xavier"]
# The height and width of each level.
Shapes = Sequence[tuple[int, int]]


class DeformAttention(nn.Module, ABC):
    """The part that both forms share: the points that a query attends to, and their weights.

    In a new layer head h attends to the direction at the angle 2 pi h / H, with point p at a distance of
    p + 1 cells from each reference point (Deformable DETR, supplement A.4).

    Args:
        channels: E.
        heads: H; divides E.
        levels: L.
        points: P, on every level, for each head and reference point.
        references: n.
        init: "zero" gives all queries the same offsets, those above, and equal weights, as in Deformable
            DETR. "xavier" draws the matrices of both from Xavier's uniform distribution instead, and also
            the matrix and the bias of the values, viewed as (H * E, E / H) and (H, E / H), as in Poseur's
            official code.

    Raises:
        ValueError: the heads do not divide the channels.
    """

    def __init__(
        self,
        channels: int,
        heads: int = 8,
        levels: int = 4,
        points: int = 4,
        references: int = 1,
        init: Init = "zero",
    ) -> None:
        super().__init__()
        if channels % heads:
            raise ValueError(f"{channels} channels do not split into {heads} heads")
        self.heads, self.levels, self.points, self.references = heads, levels, points, references
        places = heads * levels * references * points
        self.sampling_offsets = nn.Linear(channels, 2 * places)
        self.attention_weights = nn.Linear(channels, places)
        self.value_proj = nn.Linear(channels, channels)
        self.output_proj = nn.Linear(channels, channels)
        self.init = init
        self.reset_parameters()

    @torch.no_grad()
    def reset_parameters(self) -> None:
        """Gives the parameters the values of a new layer."""
        for layer in (self.sampling_offsets, self.attention_weights, self.value_proj, self.output_proj):
            nn.init.xavier_uniform_(layer.weight)
            nn.init.zeros_(layer.bias)
        if self.init == "xavier":
            values = self.value_proj
            nn.init.xavier_uniform_(values.weight.view(self.heads * values.in_features, -1))
            nn.init.xavier_uniform_(values.bias.view(self.heads, -1))
        else:
            nn.init.zeros_(self.sampling_offsets.weight)
            nn.init.zeros_(self.attention_weights.weight)

        angle = torch.arange(self.heads) * (2 * math.pi / self.heads)
        direction = torch.stack([angle.cos(), angle.sin()], dim=1)
        direction = direction / direction.abs().amax(dim=1, keepdim=True)  # its larger part is 1 cell
        distance = torch.arange(1, self.points + 1.0)
        offsets = self.sampling_offsets.bias.view(self.heads, self.levels, self.references, self.points, 2)
        offsets.copy_(direction[:, None, None, None] * distance[:, None])

    def forward(
        self,
        query: Tensor,
        references: Tensor,
        memory: Tensor,
        shapes: Shapes,
        padding: Tensor | None = None,
    ) -> Tensor:
        """Attends to the memory.

        Args:
            query: (N, Q, E), its positional encoding added.
            references: points (x, y), from 0 to 1 across the maps; they may lie outside. (N, Q, n, 2) the
                same for all levels, or (N, Q, L, n, 2) for each level.
            memory: (N, R, E) the levels one after another, each row by row.
            shapes: L pairs (height, width) of the levels.
            padding: (N, R) bool, True where a cell is padding, whose values are then 0; None for no padding.

        Returns:
            (N, Q, E), projected; without dropout and residual.

        Raises:
            ValueError: this form of attention cannot leave out padding, and some is given.
        """
        offsets = full_precision(self.sampling_offsets(query))
        offsets = offsets.unflatten(-1, (self.heads, self.levels, self.references, self.points, 2))
        # Offsets are in cells of their level. new_tensor would wait for a GPU and fix exported sizes.
        sides = [offsets.new_full((), side) for height, width in shapes for side in (width, height)]
        cells = torch.stack(sides).view(self.levels, 1, 1, 2)
        per_level = references if references.dim() == 5 else references[:, :, None]
        around = full_precision(per_level)[:, :, None, :, :, None]  # (N, Q, 1, L or 1, n, 1, 2)
        locations = (around + offsets / cells).flatten(4, 5)  # (N, Q, H, L, n * P, 2)

        weights = (
            full_precision(self.attention_weights(query)).unflatten(-1, (self.heads, -1)).softmax(dim=-1)
        )
        weights = weights.unflatten(-1, (self.levels, -1))  # (N, Q, H, L, n * P)
        return self.output_proj(self.attend(memory, shapes, locations, weights, padding))

    @abstractmethod
    def attend(
        self, memory: Tensor, shapes: Shapes, locations: Tensor, weights: Tensor, padding: Tensor | None
    ) -> Tensor:
        """Reads the memory (N, R, E) and projects the values of each head: (N, Q, E), heads joined."""


class MSDeformAttention(DeformAttention):
    """Multi-scale deformable attention (Deformable DETR, Section 4.1).

    The whole memory is projected before it is read, so the cost grows with the maps, and points outside the
    maps, and cells of padding, read zeros without the bias of the projection.
    """

    def attend(
        self, memory: Tensor, shapes: Shapes, locations: Tensor, weights: Tensor, padding: Tensor | None
    ) -> Tensor:
        value = self.value_proj(memory)
        if padding is not None:
            value = value.masked_fill(padding[..., None], 0)
        value = value.unflatten(-1, (self.heads, -1))  # (N, R, H, E / H)
        return ms_deform_attn(value, shapes, locations, weights).flatten(2)


class EMSDeformAttention(DeformAttention):
    """Efficient multi-scale deformable attention (Poseur, Section 3.3, eq. 1).

    Every head reads the full-width memory, and only the sum of what it has read is projected, so the cost
    does not depend on the size of the maps. The bias of the projection, which eq. 1 lacks and the official
    code has, is added in full wherever the points lie. Has the parameters of :class:`MSDeformAttention`.
    """

    def attend(
        self, memory: Tensor, shapes: Shapes, locations: Tensor, weights: Tensor, padding: Tensor | None
    ) -> Tensor:
        if padding is not None:
            raise ValueError(
                "EMSDeformAttention adds the bias of its values to what it reads, so it cannot leave out "
                "padding: use MSDeformAttention"
            )
        read = ms_deform_attn(memory.unsqueeze(2), shapes, locations, weights)  # (N, Q, H, E)
        weight = self.value_proj.weight.unflatten(0, (self.heads, -1))  # (H, E / H, E)
        return torch.einsum("nqhe,hde->nqhd", read, weight).flatten(2) + self.value_proj.bias
