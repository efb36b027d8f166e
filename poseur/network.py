"""The network behind the backbone, from feature maps to predictions: :class:`TransformerNetwork`.

It knows nothing of images, boxes or losses.

Letters: N crops, K keypoints, G groups of K queries, C channels of a map, E of the decoder, L levels.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial
from typing import TypeVar

import torch
from detectron2.config import CfgNode
from torch import Tensor, nn

from posecore.config.options import choice
from poseur.decoder import Decoder
from poseur.encoder import KeypointEncoder, LearnedQueries, Queries, build_keypoint_encoder
from poseur.heads import CoarseHead
from poseur.memory import ChannelMapper, PositionedLevels
from poseur.noise import ProposalNoise, no_noise, perturbed_proposals, random_proposals
from poseur.prediction import COARSE, Prediction, decoder_stages

Level = TypeVar("Level")
# From the levels of the backbone and those of the neck, finest first, to the one that is pooled. Levels are
# maps, or their numbers of channels.
PooledLevel = Callable[[Sequence[Level], Sequence[Level]], Level]


@dataclass(frozen=True)
class Predictions:
    """The predictions of all stages.

    Attributes:
        stages: name -> prediction (N, G, K, 2), in the order of the stages. Group 0 starts from the
            proposals themselves; the others, in training only, from noisy ones.
    """

    stages: dict[str, Prediction]

    @property
    def result(self) -> Prediction:
        """(N, K, 2), the last stage's prediction of group 0."""
        return list(self.stages.values())[-1][:, 0]


@dataclass(frozen=True)
class InitialQueries:
    """The queries that the decoder starts with.

    Attributes:
        stages: the predictions that the queries were made from.
        queries: of G groups.
    """

    stages: dict[str, Prediction]
    queries: Queries


def backbone_level(backbone: Sequence[Level], neck: Sequence[Level]) -> Level:
    """The last level of the backbone, as in the paper."""
    return backbone[-1]


def neck_level(backbone: Sequence[Level], neck: Sequence[Level]) -> Level:
    """The last level of the neck, as in the official code."""
    return neck[-1]


class CoarseStart(nn.Module):
    """Starts the decoder from proposals, which a pooled map gives; in training also from noisy ones.

    Args:
        pooled_level: chooses the map that is pooled.
        head: from the pooled map to proposals.
        encoder: from proposals to queries.
        noise: from proposals to further groups of proposals, for training.
    """

    def __init__(
        self,
        pooled_level: PooledLevel[Tensor],
        head: CoarseHead,
        encoder: KeypointEncoder,
        noise: ProposalNoise,
    ) -> None:
        super().__init__()
        self.pooled_level = pooled_level
        self.head = head
        self.encoder = encoder
        self.noise = noise

    @classmethod
    def from_config(cls, cfg: CfgNode, channels: Sequence[int], num_keypoints: int) -> "CoarseStart":
        """The start of MODEL.POSEUR for a backbone whose maps have ``channels`` channels, finest first."""
        node = cfg.MODEL.POSEUR
        pooled_level = choice(cfg, "MODEL.POSEUR.POOL", {"backbone": backbone_level, "neck": neck_level})
        noises: dict[str, ProposalNoise] = {
            "random": partial(random_proposals, groups=node.NOISE.GROUPS),
            "perturbed": partial(
                perturbed_proposals,
                groups=node.NOISE.GROUPS,
                per_group=node.NOISE.PER_GROUP,
                variance=node.NOISE.VARIANCE,
            ),
            "none": no_noise,
        }
        return cls(
            pooled_level=pooled_level,
            head=CoarseHead.from_config(
                cfg, pooled_level(channels, [node.WIDTH] * len(channels)), num_keypoints
            ),
            encoder=build_keypoint_encoder(cfg, num_keypoints),
            noise=choice(cfg, "MODEL.POSEUR.NOISE.KIND", noises),
        )

    def forward(self, maps: Sequence[Tensor], levels: Sequence[Tensor]) -> InitialQueries:
        """The maps (N, C_l, H_l, W_l) of the backbone and (N, E, H_l, W_l) of the neck, finest first."""
        coarse = self.head(pool(self.pooled_level(maps, levels)))
        proposals = coarse.points.detach()
        groups = proposals[:, None]
        if self.training:
            groups = torch.cat([groups, self.noise(proposals)], dim=1)
        return InitialQueries({COARSE: coarse[:, None]}, self.encoder(groups))


class LearnedStart(nn.Module):
    """Starts the decoder from the same learned queries for all crops, without proposals (Table 1a).

    Args:
        queries: the learned queries.
    """

    def __init__(self, queries: LearnedQueries) -> None:
        super().__init__()
        self.queries = queries

    def forward(self, maps: Sequence[Tensor], levels: Sequence[Tensor]) -> InitialQueries:
        """As :meth:`CoarseStart.forward`."""
        return InitialQueries({}, self.queries(maps[0].shape[0]))


class TransformerNetwork(nn.Module):
    """Poseur behind the backbone (Figure 3).

    Args:
        neck: brings all maps to E channels.
        start: from maps to the queries that the decoder starts with.
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
        return Predictions(start.stages | decoder_stages(refined))


class CoarseNetwork(nn.Module):
    """Poseur without a decoder: the regression of RLE from the pooled last map.

    Args:
        head: from the pooled map to predictions.
    """

    def __init__(self, head: CoarseHead) -> None:
        super().__init__()
        self.head = head

    def forward(self, maps: Sequence[Tensor]) -> Predictions:
        """(N, C_l, H_l, W_l) for each level, finest first -> "coarse"."""
        return Predictions({COARSE: self.head(pool(maps[-1]))[:, None]})


def pool(level: Tensor) -> Tensor:
    """(N, C, H, W) -> (N, C), the mean over the map."""
    return level.mean(dim=(2, 3))
