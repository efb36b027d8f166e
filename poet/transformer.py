"""DETR's ``Transformer``: an encoder of a feature map's cells, and a decoder of queries that attend to them.

Attention is PyTorch's own: ``scaled_dot_product_attention`` unless its weights are asked for. The encoder can
have deformable attention instead. Source: DETR (arXiv 2005.12872), Figure 10. Letters: N images, S = H * W
cells, Q queries, D width, L decoder layers.
"""

from collections.abc import Sequence
from dataclasses import dataclass, replace

import torch
from torch import Tensor, nn

from posecore.layers.deform_attention import DeformAttention
from posecore.layers.deform_transformer import DeformableLayer, pyramid_cells
from posecore.layers.feed_forward import FeedForward, Residual
from posecore.modeling.set_prediction.queries import Queries


@dataclass(frozen=True)
class Cells:
    """A feature map as a sequence.

    Attributes:
        values: (N, S, D).
        positions: (N, S, D), the encoding of the cells' positions.
        padding: (N, S) bool, True where a cell is padding.
        size: (H, W) of the map.
    """

    values: Tensor
    positions: Tensor
    padding: Tensor
    size: tuple[int, int]


@dataclass(frozen=True)
class AttentionMaps:
    """Attention weights of the last encoder and decoder layer, averaged over their heads.

    Attributes:
        encoder: (N, S, S), from each cell to all cells; None without an encoder whose attention is dense.
        decoder: (N, Q, S), from each query to the cells.
    """

    encoder: Tensor | None
    decoder: Tensor


@dataclass(frozen=True)
class TransformerOutput:
    """The output of the transformer.

    Attributes:
        states: (L, N, Q, D), the queries after each decoder layer, normalized.
        memory: (N, S, D), the encoder's output.
        attention: maps of the last layers if they were asked for.
    """

    states: Tensor
    memory: Tensor
    attention: AttentionMaps | None


class EncoderLayer(nn.Module):
    """Self-attention of the cells, and a feed-forward layer.

    Args:
        width: D.
        heads: number of heads of the attention.
        hidden: width of the feed-forward layer.
        dropout: probability of dropout.
    """

    def __init__(self, width: int, heads: int, hidden: int, dropout: float) -> None:
        super().__init__()
        self.attention = nn.MultiheadAttention(width, heads, dropout, batch_first=True)
        self.after_attention = Residual(width, dropout)
        self.feed_forward = FeedForward(width, hidden, dropout)
        self.after_feed_forward = Residual(width, dropout)

    def forward(self, x: Tensor, cells: Cells, need_weights: bool = False) -> tuple[Tensor, Tensor | None]:
        """(N, S, D) -> (N, S, D), and the (N, S, S) weights if they are needed."""
        positioned = x + cells.positions
        update, weights = self.attention(
            positioned, positioned, x, key_padding_mask=cells.padding, need_weights=need_weights
        )
        x = self.after_attention(x, update)
        return self.after_feed_forward(x, self.feed_forward(x)), weights


class DeformableEncoderLayer(nn.Module):
    """Deformable attention of each cell to a few points around it, and a feed-forward layer.

    Its time and memory grow with the number of cells, those of :class:`EncoderLayer` with its square.

    Args:
        width, heads, hidden, dropout: see :class:`EncoderLayer`.
        points: points of each head.
    """

    def __init__(self, width: int, heads: int, points: int, hidden: int, dropout: float) -> None:
        super().__init__()
        self.layer = DeformableLayer(width, heads, 1, points, hidden, dropout)

    def forward(self, x: Tensor, cells: Cells, need_weights: bool = False) -> tuple[Tensor, None]:
        """(N, S, D) -> (N, S, D); there are no weights of all cells, even if they are needed."""
        memory = pyramid_cells(
            [x.transpose(1, 2).unflatten(2, cells.size)], [cells.padding.unflatten(1, cells.size)]
        )
        return self.layer(x, x + cells.positions, memory.centers, memory), None


class CrossAttention(nn.Module):
    """Attention of the queries to all cells.

    A module with the same ``forward``, such as deformable attention, can take its place.

    Args:
        width: D.
        heads: number of heads.
        dropout: probability of dropout.
    """

    def __init__(self, width: int, heads: int, dropout: float) -> None:
        super().__init__()
        self.attention = nn.MultiheadAttention(width, heads, dropout, batch_first=True)

    def forward(
        self, x: Tensor, queries: Queries, memory: Cells, need_weights: bool = False
    ) -> tuple[Tensor, Tensor | None]:
        """(N, Q, D) -> the update of the queries, (N, Q, D), and the (N, Q, S) weights if they are needed."""
        return self.attention(
            x + queries.positions,
            memory.values + memory.positions,
            memory.values,
            key_padding_mask=memory.padding,
            need_weights=need_weights,
        )


class DecoderLayer(nn.Module):
    """Self-attention of the queries, their attention to the cells, and a feed-forward layer.

    Args:
        cross_attention: attention to the cells, with the ``forward`` of :class:`CrossAttention`.
        width, heads, hidden, dropout: see :class:`EncoderLayer`.
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
        positioned = x + queries.positions
        update, _ = self.self_attention(
            positioned, positioned, x, attn_mask=queries.hidden, need_weights=False
        )
        x = self.after_self_attention(x, update)
        update, weights = self.cross_attention(x, queries, memory, need_weights)
        x = self.after_cross_attention(x, update)
        return self.after_feed_forward(x, self.feed_forward(x)), weights


class Transformer(nn.Module):
    """Encoder and decoder, and the norm of the decoder's states.

    All matrices are initialized by Xavier's uniform distribution, as the paper says, except for those of
    deformable attention.

    Args:
        encoder: layers of the encoder, with the ``forward`` of :class:`EncoderLayer`.
        decoder: L layers of the decoder.
        width: D.
    """

    def __init__(self, encoder: Sequence[nn.Module], decoder: Sequence[DecoderLayer], width: int) -> None:
        super().__init__()
        self.encoder = nn.ModuleList(encoder)
        self.decoder = nn.ModuleList(decoder)
        self.norm = nn.LayerNorm(width)
        for parameter in self.parameters():
            if parameter.dim() > 1:
                nn.init.xavier_uniform_(parameter)
        for module in self.modules():
            if isinstance(module, DeformAttention):
                module.reset_parameters()

    def forward(self, cells: Cells, queries: Queries, need_weights: bool = False) -> TransformerOutput:
        """From cells and queries to the states of the queries.

        Args:
            cells: S cells of each image.
            queries: Q queries of each image.
            need_weights: whether to return attention maps, which take memory by the square of S.
        """
        memory, encoder_weights = cells.values, None
        for layer in self.encoder:
            last = layer is self.encoder[-1]
            memory, encoder_weights = layer(memory, cells, need_weights and last)
        encoded = replace(cells, values=memory)
        x, states, decoder_weights = queries.values, [], None
        for layer in self.decoder:
            last = layer is self.decoder[-1]
            x, decoder_weights = layer(x, queries, encoded, need_weights and last)
            # The head gets the normalized states, the next layer gets them as they are.
            states.append(self.norm(x))
        if decoder_weights is None:
            return TransformerOutput(torch.stack(states), memory, attention=None)
        return TransformerOutput(torch.stack(states), memory, AttentionMaps(encoder_weights, decoder_weights))
