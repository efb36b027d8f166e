"""The keypoint encoder: from proposals to the queries that the decoder starts with (section 3.1).

Letters: N images or crops, G groups of K queries, E channels.
"""

from abc import ABC, abstractmethod
from dataclasses import dataclass

import torch
from detectron2.config import CfgNode
from torch import Tensor, nn

from posecore.config.options import choice
from posecore.layers.position import encode_points


@dataclass(frozen=True)
class Queries:
    """The input of the decoder.

    Attributes:
        values: (N, G, K, E).
        identity: (K, E), or anything that broadcasts to the values: added to queries and keys in every
            attention, to tell the keypoints apart.
        references: (N, G, K, 2), the point around which each query looks first; may lie outside [0, 1].
    """

    values: Tensor
    identity: Tensor
    references: Tensor


class KeypointEncoder(nn.Module, ABC):
    """The part that both encoders share: a learned vector for each keypoint, and proposals without gradient.

    Args:
        channels: E.
        num_keypoints: K.
    """

    def __init__(self, channels: int, num_keypoints: int) -> None:
        super().__init__()
        self.channels = channels
        self.embedding = class_embedding(num_keypoints, channels)

    def forward(self, proposals: Tensor) -> Queries:
        """(N, G, K, 2) -> queries; the proposals get no gradient."""
        return self.encode(proposals.detach())

    @abstractmethod
    def encode(self, proposals: Tensor) -> Queries:
        """(N, G, K, 2) without gradient -> queries."""


class SummedEncoder(KeypointEncoder):
    """The paper's encoder: a learned vector for each keypoint plus the sine encoding of its proposal."""

    def encode(self, proposals: Tensor) -> Queries:
        values = self.embedding + encode_points(proposals, self.channels)
        return Queries(values, values.new_zeros(1), proposals)


class ProjectedEncoder(KeypointEncoder):
    """The official code's encoder: a projection of two encodings; the learned vectors are kept apart.

    The two encodings are those of the proposal and of the proposal clipped to the crop.
    """

    def __init__(self, channels: int, num_keypoints: int) -> None:
        super().__init__(channels, num_keypoints)
        self.projection = nn.Linear(2 * channels, channels)
        nn.init.xavier_uniform_(self.projection.weight)
        self.norm = nn.LayerNorm(channels)

    def encode(self, proposals: Tensor) -> Queries:
        encodings = [encode_points(points, self.channels) for points in (proposals, proposals.clamp(0, 1))]
        values = self.norm(self.projection(torch.cat(encodings, dim=-1)))
        return Queries(values, self.embedding, proposals)


def build_keypoint_encoder(cfg: CfgNode, num_keypoints: int) -> KeypointEncoder:
    """The encoder that MODEL.POSEUR.ENCODER names."""
    options: dict[str, type[KeypointEncoder]] = {"sum": SummedEncoder, "projection": ProjectedEncoder}
    return choice(cfg, "MODEL.POSEUR.ENCODER", options)(cfg.MODEL.POSEUR.WIDTH, num_keypoints)


class LearnedQueries(nn.Module):
    """Deformable DETR's queries, the baseline of Table 1a: the same for every crop.

    Args:
        channels: E.
        num_keypoints: K.
    """

    def __init__(self, channels: int, num_keypoints: int) -> None:
        super().__init__()
        self.values = class_embedding(num_keypoints, channels)
        self.embedding = class_embedding(num_keypoints, channels)
        self.references = nn.Linear(channels, 2)
        nn.init.xavier_uniform_(self.references.weight)

    def forward(self, count: int) -> Queries:
        """Queries of ``count`` crops, one group each."""
        references = self.references(self.embedding).sigmoid()
        return Queries(
            self.values.expand(count, 1, -1, -1), self.embedding, references.expand(count, 1, -1, -1)
        )


def class_embedding(num_keypoints: int, channels: int) -> nn.Parameter:
    """(K, E), drawn from Xavier's uniform distribution."""
    return nn.Parameter(nn.init.xavier_uniform_(torch.empty(num_keypoints, channels)))
