"""DETR's transformer: an encoder over the cells of a map, a decoder of queries that look at them.

Letters: N images, S = H * W cells, Q queries, D width, L decoder layers. Attention is PyTorch's own:
``scaled_dot_product_attention`` unless its weights are asked for.
"""

from dataclasses import dataclass

import torch
from torch import Tensor, nn


@dataclass(frozen=True)
class Cells:
    """A feature map as a sequence.

    Attributes:
        values: (N, S, D).
        positions: (N, S, D), their encoding.
        padding: (N, S) bool, True where there is no image.
        size: (H, W).
    """

    values: Tensor
    positions: Tensor
    padding: Tensor
    size: tuple[int, int]


@dataclass(frozen=True)
class Queries:
    """What the decoder starts from.

    Attributes:
        values: (N, Q, D).
        positions: (N, Q, D), added to queries and keys in every layer.
        hidden: (Q, Q) bool, True where one query (the row) must not see another; None hides nothing.
    """

    values: Tensor
    positions: Tensor
    hidden: Tensor | None = None


@dataclass(frozen=True)
class AttentionMaps:
    """Where the last layers look, averaged over their heads.

    Attributes:
        encoder: (N, S, S), from each cell to all.
        decoder: (N, Q, S), from each query to the cells.
    """

    encoder: Tensor
    decoder: Tensor


@dataclass(frozen=True)
class Decoded:
    """What comes out.

    Attributes:
        states: (L, N, Q, D) of the queries after each decoder layer, normalized.
        memory: (N, S, D), the encoder's output.
        attention: maps of the last layers if they were asked for.
    """

    states: Tensor
    memory: Tensor
    attention: AttentionMaps | None


class FeedForward(nn.Sequential):
    """Two linear layers, applied to every place alone; (..., D) -> (..., D)."""

    def __init__(self, width: int, hidden: int, dropout: float) -> None:
        super().__init__(
            nn.Linear(width, hidden), nn.ReLU(inplace=True), nn.Dropout(dropout), nn.Linear(hidden, width)
        )


class Residual(nn.Module):
    """Adds what a sublayer found to what came in, and normalizes the sum (post-norm)."""

    def __init__(self, width: int, dropout: float) -> None:
        super().__init__()
        self.dropout = nn.Dropout(dropout)
        self.norm = nn.LayerNorm(width)

    def forward(self, x: Tensor, found: Tensor) -> Tensor:
        return self.norm(x + self.dropout(found))


class EncoderLayer(nn.Module):
    """Cells look at each other.

    Args:
        width: D.
        heads: of the attention.
        hidden: width of the feed-forward layer.
        dropout: probability.
    """

    def __init__(self, width: int, heads: int, hidden: int, dropout: float) -> None:
        super().__init__()
        self.attention = nn.MultiheadAttention(width, heads, dropout, batch_first=True)
        self.after_attention = Residual(width, dropout)
        self.feed_forward = FeedForward(width, hidden, dropout)
        self.after_feed_forward = Residual(width, dropout)

    def forward(self, x: Tensor, cells: Cells, need_weights: bool = False) -> tuple[Tensor, Tensor | None]:
        """(N, S, D) -> (N, S, D), and the (N, S, S) weights if they are needed."""
        placed = x + cells.positions
        found, weights = self.attention(
            placed, placed, x, key_padding_mask=cells.padding, need_weights=need_weights
        )
        x = self.after_attention(x, found)
        return self.after_feed_forward(x, self.feed_forward(x)), weights


class CrossAttention(nn.Module):
    """Queries look at all cells. What is called the same way can take its place, as deformable attention."""

    def __init__(self, width: int, heads: int, dropout: float) -> None:
        super().__init__()
        self.attention = nn.MultiheadAttention(width, heads, dropout, batch_first=True)

    def forward(
        self, x: Tensor, queries: Queries, memory: Cells, need_weights: bool = False
    ) -> tuple[Tensor, Tensor | None]:
        """(N, Q, D) -> what was found, (N, Q, D), and the (N, Q, S) weights if they are needed."""
        return self.attention(
            x + queries.positions,
            memory.values + memory.positions,
            memory.values,
            key_padding_mask=memory.padding,
            need_weights=need_weights,
        )


class DecoderLayer(nn.Module):
    """Queries look at each other, then at the cells.

    Args:
        cross_attention: how they look at the cells.
        width, heads, hidden, dropout: as in the encoder.
    """

    def __init__(
        self, cross_attention: nn.Module, width: int, heads: int, hidden: int, dropout: float
    ) -> None:
        super().__init__()
        self.self_attention = nn.MultiheadAttention(width, heads, dropout, batch_first=True)
        self.after_self_attention = Residual(width, dropout)
        self.cross_attention = cross_attention
        self.after_cross_attention = Residual(width, dropout)
        self.feed_forward = FeedForward(width, hidden, dropout)
        self.after_feed_forward = Residual(width, dropout)

    def forward(
        self, x: Tensor, queries: Queries, memory: Cells, need_weights: bool = False
    ) -> tuple[Tensor, Tensor | None]:
        """(N, Q, D) -> (N, Q, D), and the (N, Q, S) weights if they are needed."""
        placed = x + queries.positions
        found, _ = self.self_attention(placed, placed, x, attn_mask=queries.hidden, need_weights=False)
        x = self.after_self_attention(x, found)
        found, weights = self.cross_attention(x, queries, memory, need_weights)
        x = self.after_cross_attention(x, found)
        return self.after_feed_forward(x, self.feed_forward(x)), weights


class LearnedQueries(nn.Module):
    """The paper's object queries: learned positions, and values that start as zeros.

    Args:
        num_queries: Q.
        width: D.
    """

    def __init__(self, num_queries: int, width: int) -> None:
        super().__init__()
        self.positions = nn.Embedding(num_queries, width)

    def forward(self, num_images: int) -> Queries:
        positions = self.positions.weight.expand(num_images, -1, -1)
        return Queries(torch.zeros_like(positions), positions)


class Transformer(nn.Module):
    """Encoder and decoder.

    All matrices start from Xavier's uniform distribution, as the paper says.

    Args:
        encoder: its layers.
        decoder: its L layers.
        width: D.
    """

    def __init__(self, encoder: list[EncoderLayer], decoder: list[DecoderLayer], width: int) -> None:
        super().__init__()
        self.encoder = nn.ModuleList(encoder)
        self.decoder = nn.ModuleList(decoder)
        self.norm = nn.LayerNorm(width)
        for parameter in self.parameters():
            if parameter.dim() > 1:
                nn.init.xavier_uniform_(parameter)

    def forward(self, cells: Cells, queries: Queries, need_weights: bool = False) -> Decoded:
        """
        Args:
            cells: what the queries are to find persons in.
            queries: Q for each image.
            need_weights: whether to return attention maps; memory grows with S * S then.
        """
        memory, encoder_weights = cells.values, None
        for layer in self.encoder:
            last = layer is self.encoder[-1]
            memory, encoder_weights = layer(memory, cells, need_weights and last)
        seen = Cells(memory, cells.positions, cells.padding, cells.size)
        x, states, decoder_weights = queries.values, [], None
        for layer in self.decoder:
            last = layer is self.decoder[-1]
            x, decoder_weights = layer(x, queries, seen, need_weights and last)
            # Every layer's output is normalized for the heads, but goes on as it is.
            states.append(self.norm(x))
        if encoder_weights is None or decoder_weights is None:
            return Decoded(torch.stack(states), memory, attention=None)
        return Decoded(torch.stack(states), memory, AttentionMaps(encoder_weights, decoder_weights))
