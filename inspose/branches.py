"""What all persons of an image share: the map that KP-Nets read, and the offsets that refine peaks.

Letters: N images, C channels, K keypoints, H and W the size of the level, H' and W' that of the offsets.
"""

from torch import Tensor, nn

from posecore.layers.tower import Tower, init_conv


class KeypointFeatures(nn.Sequential):
    """The map that all KP-Nets read: 3x3 convolutions, and one more to few channels (section 3.2).

    (N, in_channels, H, W) -> (N, channels, H, W). The last one has norm and ReLU too, as in the official code.

    Args:
        in_channels: of the level.
        convs_dim: width of the convolutions.
        num_convs: how many.
        channels: of the map.
        norm: behind each.
        bias: of the convolutions; None for what fits the norm.
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


class DiskOffsets(nn.Module):
    """Three 3x3 convolutions to an offset per cell and keypoint type (section 3.3).

    Args:
        in_channels: of the level.
        channels: of the first two convolutions.
        num_keypoints: K.
        norm: behind each of the two.
        resize: from (N, 2K, H, W) to (N, 2K, H', W').
        stride: pixels per cell of what ``resize`` returns.
    """

    def __init__(
        self,
        in_channels: int,
        channels: int,
        num_keypoints: int,
        *,
        norm: str,
        resize: nn.Module,
        stride: int,
    ) -> None:
        super().__init__()
        self.stride = stride
        self.tower = Tower(in_channels, channels, 2, norm)
        self.predictor = init_conv(nn.Conv2d(channels, 2 * num_keypoints, 3, padding=1))
        self.resize = resize

    def forward(self, feature: Tensor) -> Tensor:
        """(N, C, H, W) -> (N, K, 2, H', W') from the center of each cell to the keypoint, in pixels."""
        cells = self.resize(self.predictor(self.tower(feature)))
        return cells.unflatten(1, (-1, 2)) * self.stride
