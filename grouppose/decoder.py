"""The decoder, ``GroupDecoder``: a query is a group of tokens, one for the person and one for each keypoint.

Letters: N images, Q queries (groups), K keypoints, T = K + 1 tokens of a group, first the person's, D width,
L decoder layers, C classes. Points are x and y in widths and heights of the image.
"""

from collections.abc import Callable, Sequence

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from posecore.layers.deform_transformer import DeformableLayer, PyramidCells
from posecore.layers.feed_forward import MLP, Residual, draw_linear_weights
from posecore.layers.position import PositionRule, encode_points, inverse_sigmoid
from posecore.layers.precision import full_precision
from posecore.modeling.set_prediction.denoising import HiddenQueries
from posecore.modeling.set_prediction.poses import KeypointPoses
from posecore.modeling.set_prediction.predictions import Predictions

# (N, Q, K, D) keypoint tokens as they left a layer and positions of the next one -> what poses are read from.
StateRule = Callable[[Tensor, Tensor], Tensor]


def own_states(tokens: Tensor, next_positions: Tensor) -> Tensor:
    """The tokens as they left their layer."""
    return tokens


def states_with_next_positions(tokens: Tensor, next_positions: Tensor) -> Tensor:
    """The tokens after the next layer has added its positions, as in the official code."""
    return tokens + next_positions


class GroupDecoderLayer(nn.Module):
    """Attention within each group, across groups, to the cells of the encoder, and a feed-forward layer.

    Args:
        width: D.
        heads: number of heads of the attentions.
        dropout: probability of dropout.
        deformable: attention to the cells, and the feed-forward layer.
        position_rule: how positions enter the attention within groups and to the cells.
    """

    def __init__(
        self, width: int, heads: int, dropout: float, deformable: DeformableLayer, position_rule: PositionRule
    ) -> None:
        super().__init__()
        self.within = nn.MultiheadAttention(width, heads, dropout, batch_first=True)
        self.after_within = Residual(width, dropout)
        self.across = nn.MultiheadAttention(width, heads, dropout, batch_first=True)
        self.after_across = Residual(width, dropout)
        self.deformable = deformable
        self.position_rule = position_rule
        draw_linear_weights(self.within)
        draw_linear_weights(self.across)

    def forward(
        self,
        tokens: Tensor,
        positions: Tensor,
        points: Tensor,
        memory: PyramidCells,
        hidden: HiddenQueries | None = None,
    ) -> Tensor:
        """From tokens to tokens, (N, Q, T, D).

        Args:
            tokens: (N, Q, T, D).
            positions: (N, Q, T, D) encodings of the tokens' positions.
            points: (N, Q, T, 2) where the tokens look.
            memory: the encoder's cells.
            hidden: which queries others must not attend to.
        """
        batch = tokens.shape[:2]
        query, tokens = self.position_rule(tokens, positions)
        query, value = query.flatten(0, 1), tokens.flatten(0, 1)
        update, _ = self.within(query, query, value, need_weights=False)
        tokens = self.after_within(tokens, update.unflatten(0, batch))

        # The tokens of the same kind of all groups of an image: (N * T, Q, D).
        alike = tokens.transpose(1, 2).flatten(0, 1)
        masks = {}
        if hidden is not None:
            absent = hidden.absent.repeat_interleave(tokens.shape[2], dim=0)
            masks = {"attn_mask": hidden.pairs, "key_padding_mask": absent}
        update, _ = self.across(alike, alike, alike, need_weights=False, **masks)
        tokens = self.after_across(tokens, update.unflatten(0, (batch[0], -1)).transpose(1, 2))

        query, tokens = self.position_rule(tokens, positions)
        tokens = self.deformable(*(x.flatten(1, 2) for x in (tokens, query, points)), memory)
        return tokens.unflatten(1, (batch[1], -1))


class GroupDecoder(nn.Module):
    """Decoder layers, each with a classifier of persons and a regressor of keypoints.

    The regressor of a layer moves the keypoints of the previous layer. Gradients reach one layer back: the
    poses that the losses see start from the previous layer's keypoints with their gradient, what the layer
    works with is without one ("look forward twice", DINO, Section 3.5).

    Args:
        layers: L layers.
        width: D.
        num_classes: C.
        state_rule: what the poses of all layers but the last are read from.
        iterative: whether a layer starts from the keypoints of the previous one; otherwise all start from the
            proposals.
    """

    def __init__(
        self,
        layers: Sequence[GroupDecoderLayer],
        width: int,
        num_classes: int,
        state_rule: StateRule,
        iterative: bool,
    ) -> None:
        super().__init__()
        self.width = width
        self.layers = nn.ModuleList(layers)
        self.classifiers = nn.ModuleList(nn.Linear(width, num_classes) for _ in layers)
        self.regressors = nn.ModuleList(MLP(width, width, width, 2) for _ in layers)
        self.position_embedding = MLP(width, width, width)
        self.state_rule = state_rule
        self.iterative = iterative
        draw_linear_weights(self.position_embedding)

    def forward(
        self, tokens: Tensor, keypoints: Tensor, memory: PyramidCells, hidden: HiddenQueries | None = None
    ) -> Predictions[KeypointPoses]:
        """The predictions of all layers, in full precision also under autocast.

        Args:
            tokens: (N, Q, T, D).
            keypoints: (N, Q, K, 2) where the queries start, without a gradient.
            memory: the encoder's cells.
            hidden: which queries others must not attend to.

        Returns:
            (L, N, Q) predictions.
        """
        logits, poses = [], []
        start = keypoints  # with the gradient of the previous layer
        positions = self.positions(keypoints, memory)
        for layer, classify, regress in zip(self.layers, self.classifiers, self.regressors, strict=True):
            tokens = layer(tokens, positions, with_person(keypoints), memory, hidden)
            logits.append(full_precision(classify(tokens[:, :, 0])))
            states = tokens[:, :, 1:]
            offsets = full_precision(regress(states))
            refined = (inverse_sigmoid(keypoints) + offsets).sigmoid()
            if self.iterative:
                keypoints = refined.detach()
            if len(logits) < len(self.layers):
                positions = self.positions(keypoints, memory)
                seen = self.state_rule(states, positions[:, :, 1:])
                offsets = offsets if seen is states else full_precision(regress(seen))
            poses.append((inverse_sigmoid(start) + offsets).sigmoid())
            if self.iterative:
                start = refined
        return Predictions(torch.stack(logits), KeypointPoses(torch.stack(poses)))

    def positions(self, keypoints: Tensor, memory: PyramidCells) -> Tensor:
        """(N, Q, K, 2) keypoints -> (N, Q, T, D) encodings of the tokens' positions, 0 for the person's.

        As in the official code, positions are those in the padded image, and y comes first.
        """
        places = (keypoints * memory.shares[:, None, None, 0]).flip(-1)
        return F.pad(self.position_embedding(encode_points(places, self.width)), (0, 0, 1, 0))


def with_person(keypoints: Tensor) -> Tensor:
    """(N, Q, K, 2) keypoints -> (N, Q, T, 2), the mean of a group's keypoints first."""
    return torch.cat([keypoints.mean(dim=2, keepdim=True), keypoints], dim=2)
