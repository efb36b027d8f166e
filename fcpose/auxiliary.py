"""Heatmaps of all persons together, at the stride of F and four times finer: the official auxiliary task.

It only trains the features; nothing here runs at test time.
"""

from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from posecore.layers.tower import Tower
from posecore.modeling.losses import LossTerm
from posecore.structures.heatmaps import gaussian_heatmaps, keypoint_cells

# Standard deviation of the predictors' initial weights.
PREDICTOR_STD = 1e-4
# The transposed convolution enlarges so many times.
FACTOR = 4


@dataclass(frozen=True)
class Gaussian:
    """The shape of a keypoint in a heatmap.

    Attributes:
        sigma: standard deviation in cells.
        reach: cells beyond which it is cut to zero.
    """

    sigma: float
    reach: int


COARSE, FINE = Gaussian(0.9, 4), Gaussian(1.8, 6)


@dataclass(frozen=True)
class AuxiliaryMaps:
    """Heatmap logits, or their targets.

    Attributes:
        coarse: (N, K, H, W).
        fine: (N, K, 4H, 4W).
    """

    coarse: Tensor
    fine: Tensor


class AuxiliaryHeatmaps(nn.Module):
    """Heatmaps from the merged levels of F.

    Args:
        channels: of the merged levels.
        num_keypoints: K.
        norm: behind the two 3x3 convolutions.
    """

    def __init__(self, channels: int, num_keypoints: int, norm: str) -> None:
        super().__init__()
        self.tower = Tower(channels, channels, 2, norm)
        self.coarse = nn.Conv2d(channels, num_keypoints, 1)
        self.upsample = nn.ConvTranspose2d(channels + num_keypoints, channels, 8, stride=FACTOR, padding=2)
        self.fine = nn.Conv2d(channels, num_keypoints, 3, padding=1)
        for predictor in (self.coarse, self.fine):
            nn.init.normal_(predictor.weight, std=PREDICTOR_STD)
            nn.init.zeros_(predictor.bias)  # type: ignore[arg-type]

    def forward(self, merged: Tensor) -> AuxiliaryMaps:
        """(N, channels, H, W) -> logits."""
        tower = self.tower(merged)
        coarse = self.coarse(tower)
        return AuxiliaryMaps(coarse, self.fine(F.relu(self.upsample(torch.cat([tower, coarse], dim=1)))))


def auxiliary_targets(keypoints: list[Tensor], size: tuple[int, int], stride: int) -> AuxiliaryMaps:
    """A Gaussian around the cell of every labeled keypoint; persons are merged by the maximum.

    Args:
        keypoints: per image (G, K, 3), at least (0, K, 3).
        size: (H, W) of the coarse maps.
        stride: pixels per cell of the coarse maps.
    """
    fine_size = (FACTOR * size[0], FACTOR * size[1])
    return AuxiliaryMaps(
        torch.stack([_gaussians(persons, size, stride, COARSE) for persons in keypoints]),
        torch.stack([_gaussians(persons, fine_size, stride // FACTOR, FINE) for persons in keypoints]),
    )


def _gaussians(persons: Tensor, size: tuple[int, int], stride: int, shape: Gaussian) -> Tensor:
    """(G, K, 3) -> (K, H, W)."""
    cells = keypoint_cells(persons, size, stride)
    return gaussian_heatmaps(cells, size, shape.sigma, shape.reach)


def auxiliary_loss(logits: Tensor, heatmaps: Tensor, weight: float) -> LossTerm:
    """Squared errors of (N, K, H, W) maps, normalized by the sum of the squared target heatmaps."""
    return LossTerm((logits - heatmaps).square().sum(), heatmaps.square().sum(), weight)
