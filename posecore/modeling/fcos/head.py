"""The dense head of FCOS, :class:`FCOSHead`: towers on every level of a pyramid, and predictions from them.

The method decides in its constructor call which towers and predictions exist.

Letters: N images, C channels, L levels, R = sum of H_l * W_l over the levels.
"""

import math
from collections.abc import Mapping
from dataclasses import dataclass, field

import torch
from torch import Tensor, nn

from posecore.layers.tower import init_conv


class PredictionConv(nn.Module):
    """A prediction: a convolution on one tower, multiplied by a learned factor per level if there are any.

    Args:
        tower: name of the tower that it reads.
        conv: the convolution, which all levels share.
        num_levels: L, the number of factors, which are initially 1; None for no factors.
    """

    def __init__(self, tower: str, conv: nn.Conv2d, num_levels: int | None = None) -> None:
        super().__init__()
        self.tower = tower
        self.conv = conv
        self.scales = nn.Parameter(torch.ones(num_levels)) if num_levels else None

    def forward(self, level: int, tower_map: Tensor) -> Tensor:
        """The tower of one level (N, C', H, W) -> its prediction (N, C, H, W)."""
        prediction = self.conv(tower_map)
        return prediction if self.scales is None else prediction * self.scales[level]


def class_prediction(tower: str, channels: int, prior_prob: float) -> PredictionConv:
    """The prediction of the person logit, whose sigmoid is initially ``prior_prob``."""
    return PredictionConv(tower, classifier_conv(channels, prior_prob))


def centerness_prediction(tower: str, channels: int) -> PredictionConv:
    """The prediction of the centerness logit."""
    return PredictionConv(tower, init_conv(nn.Conv2d(channels, 1, 3, padding=1)))


def box_prediction(tower: str, channels: int, num_levels: int) -> PredictionConv:
    """The prediction of ltrb, the distances to the sides of the box in cells before a ReLU.

    It has a learned factor per level.
    """
    return PredictionConv(tower, init_conv(nn.Conv2d(channels, 4, 3, padding=1)), num_levels)


def classifier_conv(channels: int, prior_prob: float) -> nn.Conv2d:
    """A 3x3 convolution to one person logit, whose sigmoid is initially ``prior_prob``."""
    return init_conv(nn.Conv2d(channels, 1, 3, padding=1), bias=-math.log((1 - prior_prob) / prior_prob))


@dataclass(frozen=True)
class HeadOutput:
    """The output of the head.

    Attributes:
        maps: name of the prediction -> (N, R, C), levels concatenated finest first.
        towers: name of the tower -> one (N, C, H_l, W_l) per level, for further branches of the method.
        scales: name of the prediction -> (L,) learned factors, for predictions that have them.
    """

    maps: dict[str, Tensor]
    towers: dict[str, list[Tensor]]
    scales: dict[str, Tensor] = field(default_factory=dict)


class FCOSHead(nn.Module):
    """Towers and predictions, which all levels share.

    Args:
        towers: name -> a module that maps (N, C, H, W) to (N, C', H, W).
        predictions: name -> the convolution that predicts it.

    Raises:
        ValueError: a prediction reads a tower that does not exist.
    """

    def __init__(self, towers: Mapping[str, nn.Module], predictions: Mapping[str, PredictionConv]) -> None:
        super().__init__()
        unknown = {prediction.tower for prediction in predictions.values()} - set(towers)
        if unknown:
            raise ValueError(
                f"predictions read towers that do not exist: {sorted(unknown)}; there are {sorted(towers)}"
            )
        self.towers = nn.ModuleDict(towers)
        self.predictions = nn.ModuleDict(predictions)

    def forward(self, features: list[Tensor]) -> HeadOutput:
        """One (N, C, H_l, W_l) map per level, finest first -> predictions and towers."""
        towers = {name: [tower(feature) for feature in features] for name, tower in self.towers.items()}
        maps: dict[str, Tensor] = {}
        scales: dict[str, Tensor] = {}
        for name, prediction in self.predictions.items():
            assert isinstance(prediction, PredictionConv)
            levels = towers[prediction.tower]
            maps[name] = flatten_levels([prediction(level, tower) for level, tower in enumerate(levels)])
            if prediction.scales is not None:
                scales[name] = prediction.scales
        return HeadOutput(maps, towers, scales)


def flatten_levels(maps: list[Tensor]) -> Tensor:
    """One (N, C, H_l, W_l) per level -> (N, R, C)."""
    return torch.cat([level.flatten(2).transpose(1, 2) for level in maps], dim=1)
