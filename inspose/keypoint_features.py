"""The keypoint features of InsPose: :class:`KeypointFeatures` computes the map that all KP-Nets read."""

from torch import nn

from posecore.layers.tower import Tower


class KeypointFeatures(nn.Sequential):
    """A tower of 3x3 convolutions and one more to few channels (arXiv 2107.08982, section 3.2).

    It maps a level (N, in_channels, H, W) to (N, channels, H, W). The last convolution is followed by a norm
    and a ReLU too, as in the official code.

    Args:
        level: name of the level that it reads, as the other branches do.
        in_channels: channels of the level.
        convs_dim: channels of the tower.
        num_convs: number of convolutions of the tower.
        channels: channels of the computed map.
        norm: norm behind each convolution.
        bias: whether the convolutions have a bias; None if the norm decides (see :class:`Tower`).
    """

    def __init__(
        self,
        level: str,
        in_channels: int,
        convs_dim: int,
        num_convs: int,
        channels: int,
        norm: str,
        bias: bool | None = None,
    ) -> None:
        super().__init__(
            Tower(in_channels, convs_dim, num_convs, norm, bias=bias),
            Tower(convs_dim, channels, 1, norm, bias=bias),
        )
        self.level = level
