"""What a decoder starts from: ``Queries``, DETR's ``LearnedQueries``, and the ``GroupTokens`` of GroupPose.

Letters: N images, Q queries, K keypoints, D width of the network.
"""

from dataclasses import dataclass

import torch
from torch import Tensor, nn


@dataclass(frozen=True)
class Queries:
    """The decoder's input.

    Attributes:
        values: (N, Q, D).
        positions: (N, Q, D), added to queries and keys in every layer.
        hidden: (Q, Q) bool, True where one query (the row) must not attend to another, as groups of queries
            and denoising need it; None hides nothing.
    """

    values: Tensor
    positions: Tensor
    hidden: Tensor | None = None


class LearnedQueries(nn.Module):
    """Learned positions; the values start as zeros (DETR, Section 3.2).

    Args:
        num_queries: Q.
        width: D.
    """

    def __init__(self, num_queries: int, width: int) -> None:
        super().__init__()
        self.positions = nn.Embedding(num_queries, width)

    def forward(self, num_images: int) -> Queries:
        """The same Q queries for each of N images."""
        positions = self.positions.weight.expand(num_images, -1, -1)
        return Queries(torch.zeros_like(positions), positions)


class GroupTokens(nn.Module):
    """Queries that are groups of tokens, one for the person and one for each keypoint, as in GroupPose.

    A keypoint's token is the feature of the query's cell and a learned vector of the keypoint; the person's
    token is a learned vector.

    Args:
        num_keypoints: K.
        width: D.
    """

    def __init__(self, num_keypoints: int, width: int) -> None:
        super().__init__()
        self.keypoints = nn.Embedding(num_keypoints, width)
        self.person = nn.Embedding(1, width)
        nn.init.xavier_uniform_(self.keypoints.weight)
        nn.init.xavier_uniform_(self.person.weight)

    def forward(self, features: Tensor) -> Tensor:
        """(N, Q, D) features of the queries -> (N, Q, K + 1, D), the person's token first."""
        keypoints = features[:, :, None] + self.keypoints.weight
        return torch.cat([self.person.weight.expand(*features.shape[:2], 1, -1), keypoints], dim=2)
