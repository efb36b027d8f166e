"""The trunk of the official model: :class:`PixelTrunk` predicts the maps that all persons of an image share.

These are offsets, and in training heatmaps and tags.

Letters: N images, C channels, K keypoints, H and W the size of the level.
"""

import math
from dataclasses import dataclass

from torch import Tensor, nn

from posecore.layers.tower import Tower, init_conv

# How many times finer the maps are than the level.
FACTOR = 2


@dataclass(frozen=True)
class PixelMaps:
    """The predictions of the trunk for each cell.

    Attributes:
        heatmaps: (N, K, 2H, 2W) logits.
        tags: (N, K, 2H, 2W) tags, trained to be equal for the keypoints of one person.
        offsets: (N, K, 2, 2H, 2W) offsets from the center of the cell to the keypoint, in pixels.
    """

    heatmaps: Tensor
    tags: Tensor
    offsets: Tensor


class PixelTrunk(nn.Module):
    """Two 3x3 convolutions, a bilinear enlargement, a third convolution, and three that predict the maps.

    Args:
        in_channels: channels of the level.
        channels: channels of the first three convolutions.
        num_keypoints: K.
        norm: norm behind each of the first three convolutions.
        stride: pixels per cell of the level.
        prior_prob: initial value of the sigmoid of the heatmaps.
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
        """A level (N, C, H, W) -> all three maps."""
        trunk = self.trunk(feature)
        return PixelMaps(self.heatmaps(trunk), self.tags(trunk), self._offsets(trunk))

    def offsets(self, feature: Tensor) -> Tensor:
        """A level (N, C, H, W) -> the offsets alone, which are all that inference needs."""
        return self._offsets(self.trunk(feature))

    def trunk(self, feature: Tensor) -> Tensor:
        """A level (N, C, H, W) -> the features that all maps are predicted from (N, channels, 2H, 2W)."""
        return self.fine(self.enlarge(self.coarse(feature)))

    def _offsets(self, trunk: Tensor) -> Tensor:
        # The convolution predicts offsets from the upper left corner of a cell, in cells.
        return (self.predict_offsets(trunk).unflatten(1, (-1, 2)) - 0.5) * self.stride
