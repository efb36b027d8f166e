"""Deformable convolutions that sample features at a person's keypoints: :class:`StarBranch`.

Each of the nine taps (sampling points) of a 3x3 convolution is moved to one regressed keypoint.

Letters: N images, C channels, K keypoints, H and W the size of a level.
"""

from collections.abc import Sequence

import torch
from torch import Tensor, nn

from posecore.layers.norm import make_norm
from posecore.layers.precision import full_precision
from posecore.layers.tower import Tower
from posecore.ops import deform_conv2d
from posecore.structures.skeleton import Skeleton

# Kernel size of the deformable convolution.
SIDE = 3
# Standard deviation of its initial weights.
STAR_STD = 0.1


def tap_indices(skeleton: Skeleton, names: Sequence[str]) -> tuple[int, ...]:
    """The indices of the keypoints at which the taps sample.

    Args:
        skeleton: the skeleton that has the keypoints.
        names: nine names of keypoints, row by row of the convolution.

    Raises:
        ValueError: there are not nine names, or the skeleton lacks some of them.
    """
    if len(names) != SIDE**2:
        raise ValueError(f"MODEL.INSPOSE.OFFICIAL.TAPS must name {SIDE**2} keypoints, not {len(names)}")
    if unknown := [name for name in names if name not in skeleton.keypoints]:
        raise ValueError(
            f"MODEL.INSPOSE.OFFICIAL.TAPS names keypoints that skeleton {skeleton.name!r} lacks: {unknown}; "
            f"it has {', '.join(skeleton.keypoints)} (a keypoint may be named more than once)"
        )
    return tuple(skeleton.keypoints.index(name) for name in names)


class Steering(nn.Module):
    """Converts regressed keypoints to the offsets by which the taps of a 3x3 convolution are moved.

    Args:
        taps: indices of nine keypoints, row by row of the convolution.
        gradient: share of the gradient that is passed back to the keypoints.
    """

    regular: Tensor

    def __init__(self, taps: Sequence[int], gradient: float = 0.1) -> None:
        super().__init__()
        self.taps = list(taps)
        self.gradient = gradient
        side = torch.arange(SIDE) - SIDE // 2
        regular = torch.stack(torch.meshgrid(side, side, indexing="ij"), dim=-1).float().view(-1, 2)
        self.register_buffer("regular", regular, persistent=False)

    def forward(self, keypoints: Tensor) -> Tensor:
        """Keypoints relative to the location, in cells -> offsets of the taps, in full precision.

        (N, 2K, H, W), x and y of each keypoint -> (N, 18, H, W), y and x of each tap.
        """
        keypoints = full_precision(keypoints)
        keypoints = (1 - self.gradient) * keypoints.detach() + self.gradient * keypoints
        taps = keypoints.unflatten(1, (-1, 2))[:, self.taps].flip(2)
        return (taps - self.regular[..., None, None]).flatten(1, 2)


class StarBranch(nn.Module):
    """A tower, and a deformable 3x3 convolution on it; the outputs of both are concatenated.

    Args:
        in_channels: channels of the level.
        channels: channels of the tower and of the deformable convolution.
        num_convs: number of convolutions of the tower.
        norm: norm behind each convolution.
    """

    def __init__(self, in_channels: int, channels: int, num_convs: int, norm: str) -> None:
        super().__init__()
        self.tower = Tower(in_channels, channels, num_convs, norm, bias=False)
        self.star = nn.Parameter(torch.empty(channels, channels, SIDE, SIDE))
        nn.init.normal_(self.star, std=STAR_STD)
        self.norm = make_norm(norm, channels)

    def forward(self, feature: Tensor, steering: Tensor) -> Tensor:
        """A level (N, in_channels, H, W), offsets of the taps (N, 18, H, W) -> (N, 2 * channels, H, W)."""
        tower = self.tower(feature)
        return torch.cat([tower, self.norm(self.steered(tower, steering)).relu().to(tower.dtype)], dim=1)

    def steered(self, tower: Tensor, steering: Tensor) -> Tensor:
        """The deformable convolution alone, in full precision: (N, channels, H, W) -> the same shape."""
        with torch.autocast(tower.device.type, enabled=False):
            return deform_conv2d(full_precision(tower), steering, self.star)
