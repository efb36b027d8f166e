"""The auxiliary task of the official code: heatmaps of all persons together (:class:`AuxiliaryHeatmaps`).

There are heatmaps at the stride of the shared map F and at a stride four times finer. They only train the
features; nothing in this module runs in inference.

Letters: N images, G persons of one image, K keypoints, H and W the size of F.
"""

from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from posecore.layers.tower import Tower
from posecore.modeling.losses import LossTerm
from posecore.structures.heatmaps import gaussian_heatmaps, keypoint_cells

# Standard deviation of the initial weights of the convolutions that predict heatmaps.
PREDICTOR_STD = 1e-4
# How many times larger the transposed convolution makes its input.
FACTOR = 4


@dataclass(frozen=True)
class Gaussian:
    """The shape of a keypoint in a heatmap.

    Attributes:
        sigma: standard deviation in cells.
        reach: distance in cells, to the side or up and down, beyond which the Gaussian is cut to zero.
    """

    sigma: float
    reach: int


COARSE, FINE = Gaussian(0.9, 4), Gaussian(1.8, 6)


@dataclass(frozen=True)
class AuxiliaryMaps:
    """Predicted heatmaps, or their targets.

    Attributes:
        coarse: (N, K, H, W), at the stride of F.
        fine: (N, K, 4H, 4W), at a fourth of that stride.
    """

    coarse: Tensor
    fine: Tensor


class AuxiliaryHeatmaps(nn.Module):
    """Predicts heatmaps from the merged levels of F.

    Args:
        channels: channels of the merged levels.
        num_keypoints: K.
        norm: norm behind each of the two 3x3 convolutions.
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
        """Merged levels (N, channels, H, W) -> predicted heatmaps."""
        tower = self.tower(merged)
        coarse = self.coarse(tower)
        return AuxiliaryMaps(coarse, self.fine(F.relu(self.upsample(torch.cat([tower, coarse], dim=1)))))


def auxiliary_targets(keypoints: list[Tensor], size: tuple[int, int], stride: int) -> AuxiliaryMaps:
    """Target heatmaps with a Gaussian around the cell of every labeled keypoint.

    The heatmaps of the persons of an image are merged by the maximum.

    Args:
        keypoints: (G, K, 3) of each image in pixels; G may be 0.
        size: (H, W) of the coarse maps.
        stride: pixels per cell of the coarse maps.
    """
    fine_size = (FACTOR * size[0], FACTOR * size[1])
    return AuxiliaryMaps(
        torch.stack([_gaussians(persons, size, stride, COARSE) for persons in keypoints]),
        torch.stack([_gaussians(persons, fine_size, stride // FACTOR, FINE) for persons in keypoints]),
    )


def _gaussians(persons: Tensor, size: tuple[int, int], stride: int, shape: Gaussian) -> Tensor:
    """Keypoints (G, K, 3) of one image -> heatmaps (K, H, W)."""
    cells = keypoint_cells(persons, size, stride)
    return gaussian_heatmaps(cells, size, shape.sigma, shape.reach)


def auxiliary_loss(logits: Tensor, heatmaps: Tensor, weight: float) -> LossTerm:
    """Squared errors of (N, K, H, W) heatmaps, normalized by the sum of the squared targets."""
    return LossTerm((logits - heatmaps).square().sum(), heatmaps.square().sum(), weight)
