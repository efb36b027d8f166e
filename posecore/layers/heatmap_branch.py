"""Heatmaps of all persons together: a per-pixel task beside the real one, which only trains the features."""

import math

from torch import Tensor, nn

from posecore.layers.tower import Tower, init_conv


class HeatmapBranch(nn.Module):
    """Two 3x3 convolutions and a third to one logit per keypoint type.

    DirectPose (arXiv 1911.07451, section 3.3) and InsPose (arXiv 2107.08982, section 3.4) train with it.

    Args:
        level: name of the level that it reads.
        in_channels: of the pyramid.
        channels: of the two convolutions.
        num_keypoints: K.
        norm: behind each of the two.
        prior_prob: what the logits' sigmoid starts at.
    """

    def __init__(
        self,
        level: str,
        in_channels: int,
        channels: int,
        num_keypoints: int,
        *,
        norm: str,
        prior_prob: float,
    ) -> None:
        super().__init__()
        self.level = level
        self.tower = Tower(in_channels, channels, 2, norm)
        self.predictor = init_conv(
            nn.Conv2d(channels, num_keypoints, 3, padding=1), bias=-math.log((1 - prior_prob) / prior_prob)
        )

    def forward(self, feature: Tensor) -> Tensor:
        """(N, C, H, W) of one level -> (N, K, H, W) logits."""
        return self.predictor(self.tower(feature))
