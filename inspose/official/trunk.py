"""One trunk for what all persons share: offsets, and in training heatmaps and tags.

Letters: N images, C channels, K keypoints, H and W the size of the level.
"""

import math
from dataclasses import dataclass

from torch import Tensor, nn

from posecore.layers.tower import Tower, init_conv

# How many times finer than the level the maps are.
FACTOR = 2


@dataclass(frozen=True)
class PixelMaps:
    """What the trunk says about each cell.

    Attributes:
        heatmaps: (N, K, 2H, 2W) logits.
        tags: (N, K, 2H, 2W), alike for the keypoints of one person.
        offsets: (N, K, 2, 2H, 2W) from the center of a cell to the keypoint, in pixels.
    """

    heatmaps: Tensor
    tags: Tensor
    offsets: Tensor


class PixelTrunk(nn.Module):
    """Two 3x3 convolutions, bilinear enlargement, a third, and three predictors.

    Args:
        in_channels: of the level.
        channels: of the convolutions.
        num_keypoints: K.
        norm: behind each of them.
        stride: pixels per cell of the level.
        prior_prob: what the heatmaps' sigmoid starts at.
    """

    def __init__(
        self,
        in_channels: int,
        channels: int,
        num_keypoints: int,
        *,
        norm: str,
        stride: int,
        prior_prob: float,
    ) -> None:
        super().__init__()
        self.stride = stride // FACTOR
        self.coarse = Tower(in_channels, channels, 2, norm, bias=False)
        self.enlarge = nn.Upsample(scale_factor=FACTOR, mode="bilinear", align_corners=False)
        self.fine = Tower(channels, channels, 1, norm, bias=False)
        self.heatmaps, self.tags, self.predict_offsets = (
            init_conv(nn.Conv2d(channels, width, 3, padding=1))
            for width in (num_keypoints, num_keypoints, 2 * num_keypoints)
        )
        assert self.heatmaps.bias is not None
        nn.init.constant_(self.heatmaps.bias, -math.log((1 - prior_prob) / prior_prob))

    def forward(self, feature: Tensor) -> PixelMaps:
        """(N, C, H, W) -> all three maps."""
        trunk = self.trunk(feature)
        return PixelMaps(self.heatmaps(trunk), self.tags(trunk), self._offsets(trunk))

    def offsets(self, feature: Tensor) -> Tensor:
        """(N, C, H, W) -> the offsets alone, which is what poses need."""
        return self._offsets(self.trunk(feature))

    def trunk(self, feature: Tensor) -> Tensor:
        """(N, C, H, W) -> (N, channels, 2H, 2W)."""
        return self.fine(self.enlarge(self.coarse(feature)))

    def _offsets(self, trunk: Tensor) -> Tensor:
        # Predictions are in cells, from a cell's upper left corner.
        return (self.predict_offsets(trunk).unflatten(1, (-1, 2)) - 0.5) * self.stride
