"""The query decoder: keypoints look at each other and at the pyramid, and are refined layer by layer.

Letters: N images or crops, G groups of K queries (of a crop's person and its noisy copies, or of several
persons of an image), E channels, L levels.
"""

from collections.abc import Sequence

from torch import Tensor, nn

from posecore.layers.deform_attention import DeformAttention
from poseur.encoder import Queries
from poseur.heads import RefinementHead
from poseur.memory import Memory
from poseur.prediction import Prediction


class SelfAttention(nn.Module):
    """Each keypoint looks at those of its group; a residual, then LayerNorm.

    Args:
        channels: E.
        heads: divides E.
        dropout: of the attention's weights and of the residual.
    """

    def __init__(self, channels: int, heads: int, dropout: float) -> None:
        super().__init__()
        self.attention = nn.MultiheadAttention(channels, heads, dropout, batch_first=True)
        nn.init.xavier_uniform_(self.attention.out_proj.weight)
        self.dropout = nn.Dropout(dropout)
        self.norm = nn.LayerNorm(channels)

    def forward(self, values: Tensor, identity: Tensor) -> Tensor:
        """(N, G, K, E) -> the same shape."""
        keys, groups = (values + identity).flatten(0, 1), values.flatten(0, 1)
        seen, _ = self.attention(keys, keys, groups, need_weights=False)
        return self.norm(values + self.dropout(seen).view_as(values))

    def weights(self, values: Tensor, identity: Tensor) -> Tensor:
        """How much each keypoint looks at each other one, the mean of the heads: (N, G, K, K)."""
        keys, groups = (values + identity).flatten(0, 1), values.flatten(0, 1)
        _, weights = self.attention(keys, keys, groups)
        return weights.unflatten(0, values.shape[:2])


class NoSelfAttention(nn.Module):
    """Keypoints know nothing of each other (supplement, Table 2)."""

    def forward(self, values: Tensor, identity: Tensor) -> Tensor:
        """(N, G, K, E), as they are."""
        return values


class CrossAttention(nn.Module):
    """Each keypoint looks at the pyramid around its reference; a residual, then LayerNorm.

    Args:
        channels: E.
        attention: MSDA or EMSDA (equation 1).
        dropout: of the residual.
    """

    def __init__(self, channels: int, attention: DeformAttention, dropout: float) -> None:
        super().__init__()
        self.attention = attention
        self.dropout = nn.Dropout(dropout)
        self.norm = nn.LayerNorm(channels)

    def forward(self, values: Tensor, identity: Tensor, references: Tensor, memory: Memory) -> Tensor:
        """(N, G, K, E) and references (N, G, K, 2) -> (N, G, K, E)."""
        queries = (values + identity).flatten(1, 2)
        seen = self.attention(queries, references.flatten(1, 2)[:, :, None], memory.values, memory.shapes)
        return self.norm(values + self.dropout(seen).view_as(values))


class FeedForward(nn.Module):
    """Two linear layers for each query; a residual, then LayerNorm.

    Args:
        channels: E.
        width: between the two.
        dropout: behind the ReLU and of the residual.
    """

    def __init__(self, channels: int, width: int, dropout: float) -> None:
        super().__init__()
        self.layers = nn.Sequential(
            *(nn.Linear(channels, width), nn.ReLU(), nn.Dropout(dropout)),
            *(nn.Linear(width, channels), nn.Dropout(dropout)),
        )
        for layer in self.layers:
            if isinstance(layer, nn.Linear):
                nn.init.xavier_uniform_(layer.weight)
        self.norm = nn.LayerNorm(channels)

    def forward(self, values: Tensor) -> Tensor:
        """(..., E) -> (..., E)."""
        return self.norm(values + self.layers(values))


class DecoderLayer(nn.Module):
    """Self-attention, cross-attention, feed-forward, and what is predicted after them.

    Args:
        self_attention: :class:`SelfAttention` or :class:`NoSelfAttention`.
        cross_attention: with the pyramid.
        feed_forward: of each query.
        head: of the prediction.
    """

    def __init__(
        self,
        self_attention: nn.Module,
        cross_attention: CrossAttention,
        feed_forward: FeedForward,
        head: RefinementHead,
    ) -> None:
        super().__init__()
        self.self_attention = self_attention
        self.cross_attention = cross_attention
        self.feed_forward = feed_forward
        self.head = head

    def forward(self, queries: Queries, memory: Memory) -> tuple[Queries, Prediction]:
        """Queries -> those of the next layer, and the prediction (N, G, K, 2)."""
        values = self.self_attention(queries.values, queries.identity)
        values = self.cross_attention(values, queries.identity, queries.references, memory)
        values = self.feed_forward(values)
        references, prediction = self.head(values, queries.references)
        return Queries(values, queries.identity, references), prediction


class Decoder(nn.Module):
    """Layers one after another; the references of each are what the one before has made of its own.

    Gradients go back through the references to all layers before.

    Args:
        layers: of the same form; where there are fewer than ``depth``, they take turns: a single one means
            that all share their weights (supplement, Table 3).
        depth: how many times queries go through a layer.
    """

    def __init__(self, layers: Sequence[DecoderLayer], depth: int) -> None:
        super().__init__()
        self.layers = nn.ModuleList(layers)
        self.depth = depth

    def forward(self, queries: Queries, memory: Memory) -> list[Prediction]:
        """The prediction (N, G, K, 2) of each of the ``depth`` layers."""
        predictions = []
        for index in range(self.depth):
            queries, prediction = self.layers[index % len(self.layers)](queries, memory)
            predictions.append(prediction)
        return predictions
