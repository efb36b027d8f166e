"""The dense head: towers over every level of a pyramid, and what is predicted from them.

It only predicts. Which towers and predictors exist is the constructor call of the method.
"""

import math
from collections.abc import Mapping
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from posecore.layers.tower import init_conv


class Predictor(nn.Module):
    """A convolution on one tower, times a learned factor per level if ``num_levels`` is given.

    Args:
        tower: name of the tower that it reads.
        conv: the convolution, shared by the levels.
        num_levels: number of factors (initially 1); None for no factors.
    """

    def __init__(self, tower: str, conv: nn.Conv2d, num_levels: int | None = None) -> None:
        super().__init__()
        self.tower = tower
        self.conv = conv
        self.scales = nn.Parameter(torch.ones(num_levels)) if num_levels else None

    def forward(self, level: int, tower_map: Tensor) -> Tensor:
        """(N, C', H, W) of the level's tower -> (N, C, H, W)."""
        prediction = self.conv(tower_map)
        return prediction if self.scales is None else prediction * self.scales[level]


@dataclass(frozen=True)
class FCOSOutput:
    """What the head says.

    Attributes:
        maps: predictor name -> (N, R, C), levels concatenated finest first.
        towers: tower name -> one (N, C, H_l, W_l) per level, for branches of the method's own.
    """

    maps: dict[str, Tensor]
    towers: dict[str, list[Tensor]]


class FCOSHead(nn.Module):
    """Towers and predictors, shared by all levels.

    Args:
        towers: name -> module from (N, C, H, W) to (N, C', H, W).
        predictors: name -> predictor.
    """

    def __init__(self, towers: Mapping[str, nn.Module], predictors: Mapping[str, Predictor]) -> None:
        super().__init__()
        unknown = {predictor.tower for predictor in predictors.values()} - set(towers)
        if unknown:
            raise ValueError(f"predictors read towers that do not exist: {sorted(unknown)}")
        self.towers = nn.ModuleDict(towers)
        self.predictors = nn.ModuleDict(predictors)

    def forward(self, features: list[Tensor]) -> FCOSOutput:
        """One (N, C, H_l, W_l) map per level, finest first."""
        towers = {name: [tower(feature) for feature in features] for name, tower in self.towers.items()}
        maps = {}
        for name, predictor in self.predictors.items():
            tower_maps = towers[predictor.tower]  # type: ignore[index]
            maps[name] = flatten_levels([predictor(level, tower) for level, tower in enumerate(tower_maps)])
        return FCOSOutput(maps, towers)


def flatten_levels(maps: list[Tensor]) -> Tensor:
    """One (N, C, H_l, W_l) per level -> (N, R, C)."""
    return torch.cat([level.flatten(2).transpose(1, 2) for level in maps], dim=1)


def classifier_conv(channels: int, prior_prob: float) -> nn.Conv2d:
    """The 3x3 convolution to one person logit whose sigmoid starts at ``prior_prob``."""
    return init_conv(nn.Conv2d(channels, 1, 3, padding=1), bias=-math.log((1 - prior_prob) / prior_prob))
