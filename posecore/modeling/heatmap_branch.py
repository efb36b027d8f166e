"""The branch of auxiliary heatmaps of all persons together: :class:`HeatmapBranch`."""

import math

from torch import Tensor, nn

from posecore.layers.tower import Tower, init_conv


class HeatmapBranch(nn.Module):
    """Predicts a heatmap per keypoint type by three 3x3 convolutions.

    The heatmaps do not distinguish persons. They are an auxiliary task of DirectPose (arXiv 1911.07451,
    section 3.3) and InsPose (arXiv 2107.08982, section 3.4) that trains the features. The branch does not run
    in inference.

    Args:
        level: name of the level that it reads.
        in_channels: channels of the pyramid.
        channels: channels of the first two convolutions.
        num_keypoints: K.
        norm: norm behind each of the first two convolutions.
        prior_prob: initial value of the sigmoid of the logits.
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
        """A level (N, C, H, W) -> logits (N, K, H, W)."""
        return self.predictor(self.tower(feature))
