"""The keypoint features of InsPose: the map that the KP-Nets of all persons of an image read."""

from torch import nn

from posecore.layers.tower import Tower


class KeypointFeatures(nn.Sequential):
    """3x3 convolutions, and one more to few channels (section 3.2).

    (N, in_channels, H, W) -> (N, channels, H, W). The last one has norm and ReLU too, as in the official
    code.

    Args:
        in_channels: channels of the level.
        convs_dim: width of the convolutions.
        num_convs: number of the convolutions before the last one.
        channels: channels of the map.
        norm: norm behind each.
        bias: whether the convolutions have one; None for what fits the norm.
    """

    def __init__(
        self,
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
