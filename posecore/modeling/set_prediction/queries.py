"""What a decoder starts from: the dataclass ``Queries``, and ``LearnedQueries``, DETR's object queries.

Letters: N images, Q queries, D width of the network.
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
