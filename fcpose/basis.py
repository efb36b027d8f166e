"""The maps that all persons of an image share: the map F and the offsets that refine peaks.

:class:`Basis` computes the tower that F comes from; the offsets come from one of three modules.

Source: FCPose (arXiv 2105.14185).

Letters: N images, C channels, K keypoints, H and W the size of the finest level.
"""

from collections.abc import Sequence
from dataclasses import dataclass

from torch import Tensor, nn

from posecore.layers.tower import Tower, init_conv
from posecore.layers.upsample import aligned_upsample


@dataclass(frozen=True)
class SharedMaps:
    """The maps that all persons of an image share.

    Attributes:
        merged: (N, C', H, W) sum of the refined levels, before the tower of F.
        bases: (N, C, H, W), the map F.
        offsets: (N, K, 2, H', W') offsets from the center of each cell of the heatmaps to the keypoint, in
            pixels.
    """

    merged: Tensor
    bases: Tensor
    offsets: Tensor


class Basis(nn.Module):
    """The branch of the map F: a convolution on each level, the sum at the finest level, and a tower.

    Args:
        in_channels: channels of the pyramid.
        channels: channels of the tower.
        num_levels: number of levels that it reads.
        num_convs: number of 3x3 convolutions of the tower.
        norm: norm behind each convolution.
    """

    def __init__(self, in_channels: int, channels: int, num_levels: int, num_convs: int, norm: str) -> None:
        super().__init__()
        self.refine = nn.ModuleList(Tower(in_channels, channels, 1, norm) for _ in range(num_levels))
        self.tower = Tower(channels, channels, num_convs, norm)

    def merge(self, levels: Sequence[Tensor]) -> Tensor:
        """One (N, C, H / 2^l, W / 2^l) map per level, finest first -> their sum (N, channels, H, W)."""
        maps = [refine(level) for refine, level in zip(self.refine, levels, strict=True)]
        height = maps[0].shape[2]
        return sum(aligned_upsample(level, height // level.shape[2]) for level in maps)  # type: ignore[return-value]


class FinestOffsets(nn.Module):
    """Predicts offsets by one 3x3 convolution on the finest level, in units of its stride (section 3.2).

    Args:
        in_channels: channels of the pyramid.
        num_keypoints: K.
        stride: pixels per cell of the finest level.
    """

    def __init__(self, in_channels: int, num_keypoints: int, stride: int) -> None:
        super().__init__()
        self.stride = stride
        self.conv = init_conv(nn.Conv2d(in_channels, 2 * num_keypoints, 3, padding=1))

    def forward(self, finest: Tensor, tower: Tensor) -> Tensor:
        """The finest level (N, C, H, W) and the tower of F (not read) -> (N, K, 2, H, W), pixels."""
        return self.conv(finest).unflatten(1, (-1, 2)) * self.stride


class TowerOffsets(nn.Module):
    """Predicts offsets in pixels by a 1x1 convolution on the tower of F, as in the official code.

    Args:
        channels: channels of the tower.
        num_keypoints: K.
    """

    def __init__(self, channels: int, num_keypoints: int) -> None:
        super().__init__()
        self.conv = nn.Conv2d(channels, 2 * num_keypoints, 1)

    def forward(self, finest: Tensor, tower: Tensor) -> Tensor:
        """The finest level (not read) and the tower of F (N, channels, H, W) -> (N, K, 2, H, W), pixels."""
        return self.conv(tower).unflatten(1, (-1, 2))


class NoOffsets(nn.Module):
    """Offsets of zero: a keypoint is the center of its cell (Table 4, "none" and "deconv.").

    Args:
        num_keypoints: K.
        factor: how many times larger the heatmaps are than F.
    """

    def __init__(self, num_keypoints: int, factor: int) -> None:
        super().__init__()
        self.num_keypoints = num_keypoints
        self.factor = factor

    def forward(self, finest: Tensor, tower: Tensor) -> Tensor:
        """The finest level (N, C, H, W) -> (N, K, 2, factor * H, factor * W), all zero."""
        count, _, height, width = finest.shape
        size = (self.factor * height, self.factor * width)
        return finest.new_zeros(1).expand(count, self.num_keypoints, 2, *size)
