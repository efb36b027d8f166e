"""The query decoder: :class:`Decoder`, which refines keypoints layer by layer.

In each layer keypoints attend to each other and to the maps around their reference points.

Letters: N images or crops, G groups of K queries (of a crop's person and its noisy copies, or of several
persons of an image), E channels, L levels.
"""

import copy
from collections.abc import Sequence

from detectron2.config import CfgNode
from torch import Tensor, nn

from posecore.config.options import choice
from posecore.layers.deform_attention import DeformAttention, EMSDeformAttention, Init, MSDeformAttention
from poseur.encoder import Queries
from poseur.heads import RefinementHead
from poseur.memory import Memory
from poseur.prediction import Prediction


class SelfAttention(nn.Module):
    """Each keypoint attends to those of its group; a residual, then LayerNorm.

    Args:
        channels: E.
        heads: number of heads, which divides E.
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
        attended, _ = self.attention(keys, keys, groups, need_weights=False)
        return self.norm(values + self.dropout(attended).view_as(values))

    def weights(self, values: Tensor, identity: Tensor) -> Tensor:
        """The weights (N, G, K, K) of all keypoints for each, the mean over the heads."""
        keys, groups = (values + identity).flatten(0, 1), values.flatten(0, 1)
        _, weights = self.attention(keys, keys, groups)
        return weights.unflatten(0, values.shape[:2])


class NoSelfAttention(nn.Module):
    """Takes the place of self-attention where keypoints do not attend to each other (supplement, Table 2)."""

    def forward(self, values: Tensor, identity: Tensor) -> Tensor:
        """(N, G, K, E), unchanged."""
        return values


class CrossAttention(nn.Module):
    """Each keypoint attends to the maps around its reference point; a residual, then LayerNorm.

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
        attended = self.attention(queries, references.flatten(1, 2)[:, :, None], memory.values, memory.shapes)
        return self.norm(values + self.dropout(attended).view_as(values))


class FeedForward(nn.Module):
    """Two linear layers applied to each query; a residual, then LayerNorm.

    Args:
        channels: E.
        width: channels between the two layers.
        dropout: behind the ReLU and of the residual.
    """

    def __init__(self, channels: int, width: int, dropout: float) -> None:
        super().__init__()
        self.layers = nn.Sequential(
            nn.Linear(channels, width),
            nn.ReLU(),
            nn.Dropout(dropout),
            nn.Linear(width, channels),
            nn.Dropout(dropout),
        )
        for layer in self.layers:
            if isinstance(layer, nn.Linear):
                nn.init.xavier_uniform_(layer.weight)
        self.norm = nn.LayerNorm(channels)

    def forward(self, values: Tensor) -> Tensor:
        """(..., E) -> (..., E)."""
        return self.norm(values + self.layers(values))


class DecoderLayer(nn.Module):
    """Self-attention, cross-attention and feed-forward layers, and a prediction after them.

    Args:
        self_attention: attention between the keypoints of a group.
        cross_attention: attention to the maps.
        feed_forward: layers applied to each query.
        head: predicts from the queries.
    """

    def __init__(
        self,
        self_attention: SelfAttention | NoSelfAttention,
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
    """Decoder layers one after another; each layer moves the references of the one before.

    Gradients flow back through the references to all earlier layers.

    Args:
        layers: of the same form. If there are fewer than ``depth``, they are used in turn: with a single
            one all layers share their weights (supplement, Table 3).
        depth: how many times queries go through a layer.
    """

    def __init__(self, layers: Sequence[DecoderLayer], depth: int) -> None:
        super().__init__()
        self.layers = nn.ModuleList(layers)
        self.depth = depth

    @classmethod
    def from_config(cls, cfg: CfgNode, num_levels: int) -> "Decoder":
        """The decoder of MODEL.POSEUR for ``num_levels`` maps."""
        node = cfg.MODEL.POSEUR
        attentions: dict[str, type[DeformAttention]] = {
            "EMSDA": EMSDeformAttention,
            "MSDA": MSDeformAttention,
        }
        attention = choice(cfg, "MODEL.POSEUR.CROSS_ATTENTION", attentions)
        inits: dict[str, Init] = {"repaired": "zero", "official": "xavier"}
        init = choice(cfg, "MODEL.POSEUR.INIT", inits)
        # The heads of all layers start with the same weights.
        head = RefinementHead.from_config(cfg)
        layers = [
            DecoderLayer(
                self_attention=(
                    SelfAttention(node.WIDTH, node.HEADS, node.DROPOUT)
                    if node.SELF_ATTENTION
                    else NoSelfAttention()
                ),
                cross_attention=CrossAttention(
                    node.WIDTH,
                    attention(node.WIDTH, node.HEADS, num_levels, node.POINTS, init=init),
                    node.DROPOUT,
                ),
                feed_forward=FeedForward(node.WIDTH, node.FEED_FORWARD, node.DROPOUT),
                head=copy.deepcopy(head),
            )
            for _ in range(1 if node.SHARE_LAYERS else node.NUM_LAYERS)
        ]
        return cls(layers, node.NUM_LAYERS)

    def forward(self, queries: Queries, memory: Memory) -> list[Prediction]:
        """The prediction (N, G, K, 2) of each of the ``depth`` layers."""
        predictions = []
        for index in range(self.depth):
            queries, prediction = self.layers[index % len(self.layers)](queries, memory)
            predictions.append(prediction)
        return predictions
