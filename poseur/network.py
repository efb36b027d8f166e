"""From feature maps to predictions, stage by stage; nothing here knows of images, boxes or losses.

Letters: N crops, K keypoints, G groups of K queries, C channels of a map, E of the decoder, L levels.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from poseur.decoder import Decoder
from poseur.encoder import LearnedQueries, ProjectedEncoder, Queries, SummedEncoder
from poseur.heads import CoarseHead
from poseur.memory import ChannelMapper, PositionedLevels
from poseur.noise import Noise
from poseur.prediction import Prediction

COARSE = "coarse"


@dataclass(frozen=True)
class Predictions:
    """What is supervised, in the order in which it is predicted; the last is the result.

    Attributes:
        stages: name -> prediction (N, G, K, 2). Group 0 is that of the proposals themselves.
    """

    stages: dict[str, Prediction]

    @property
    def result(self) -> Prediction:
        """(N, K, 2)."""
        return list(self.stages.values())[-1][:, 0]


@dataclass(frozen=True)
class Start:
    """What the decoder starts with.

    Attributes:
        stages: what has been predicted so far.
        queries: of G groups.
    """

    stages: dict[str, Prediction]
    queries: Queries


class CoarseStart(nn.Module):
    """Proposals from a pooled map, encoded; in training those with noise, too.

    Args:
        head: from the pooled map.
        encoder: from proposals to queries.
        noise: further groups of proposals for training.
        pool_backbone: whether the last map of the backbone is pooled, as the paper says, or what the neck
            makes of it, as the official code does.
    """

    def __init__(
        self,
        head: CoarseHead,
        encoder: SummedEncoder | ProjectedEncoder,
        noise: Noise,
        *,
        pool_backbone: bool,
    ) -> None:
        super().__init__()
        self.head = head
        self.encoder = encoder
        self.noise = noise
        self.pool_backbone = pool_backbone

    def forward(self, maps: Sequence[Tensor], levels: Sequence[Tensor]) -> Start:
        """The maps of the backbone and those of the neck, finest first."""
        coarse = self.head(pool((maps if self.pool_backbone else levels)[-1]))
        proposals = coarse.points.detach()
        groups = proposals[:, None]
        if self.training:
            groups = torch.cat([groups, self.noise(proposals)], dim=1)
        return Start({COARSE: coarse[:, None]}, self.encoder(groups))


class LearnedStart(nn.Module):
    """The same queries for all crops, and no proposals (Table 1a).

    Args:
        queries: that are learned.
    """

    def __init__(self, queries: LearnedQueries) -> None:
        super().__init__()
        self.queries = queries

    def forward(self, maps: Sequence[Tensor], levels: Sequence[Tensor]) -> Start:
        """As :meth:`CoarseStart.forward`."""
        return Start({}, self.queries(len(maps[0])))


class TransformerNetwork(nn.Module):
    """Poseur behind the backbone (Figure 3).

    Args:
        neck: brings all maps to E channels.
        start: proposals and queries.
        positions: adds positions to the maps.
        decoder: refines the queries.
    """

    def __init__(
        self,
        neck: ChannelMapper,
        start: CoarseStart | LearnedStart,
        positions: PositionedLevels,
        decoder: Decoder,
    ) -> None:
        super().__init__()
        self.neck = neck
        self.start = start
        self.positions = positions
        self.decoder = decoder

    def forward(self, maps: Sequence[Tensor]) -> Predictions:
        """(N, C_l, H_l, W_l) for each level, finest first -> "coarse" and "decoder0", "decoder1", ..."""
        levels = self.neck(maps)
        start = self.start(maps, levels)
        refined = self.decoder(start.queries, self.positions(levels))
        return Predictions(
            start.stages | {f"decoder{index}": prediction for index, prediction in enumerate(refined)}
        )


class CoarseNetwork(nn.Module):
    """Poseur without a decoder: the regression of RLE from the pooled last map.

    Args:
        head: from the pooled map.
    """

    def __init__(self, head: CoarseHead) -> None:
        super().__init__()
        self.head = head

    def forward(self, maps: Sequence[Tensor]) -> Predictions:
        """(N, C_l, H_l, W_l) for each level, finest first -> "coarse"."""
        return Predictions({COARSE: self.head(pool(maps[-1]))[:, None]})


def pool(level: Tensor) -> Tensor:
    """(N, C, H, W) -> (N, C)."""
    return level.mean(dim=(2, 3))
