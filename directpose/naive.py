"""The naive head (section 3.1): one convolution regresses every keypoint from the location itself."""

import torch
from torch import Tensor, nn

from posecore.layers.precision import full_precision
from posecore.layers.tower import init_conv
from posecore.modeling.fcos.head import flatten_levels
from posecore.modeling.fcos.locations import Locations
from posecore.modeling.fcos.queries import Queries


class NaiveKeypoints(nn.Module):
    """A 3x3 convolution to 2K numbers.

    Args:
        channels: of the keypoint tower.
        num_keypoints: K.
    """

    def __init__(self, channels: int, num_keypoints: int) -> None:
        super().__init__()
        self.conv = init_conv(nn.Conv2d(channels, 2 * num_keypoints, 3, padding=1))

    def forward(self, tower_maps: list[Tensor], locations: Locations, queries: Queries) -> Tensor:
        """The keypoints at the queries, in full precision also under autocast.

        Args:
            tower_maps: the keypoint tower, one (N, C, H_l, W_l) per level.
            locations: the R locations of these levels.
            queries: Q of the N * R locations.

        Returns:
            (Q, K, 2) positions relative to the location, in cells of its level.
        """
        with torch.autocast(tower_maps[0].device.type, enabled=False):
            offsets = flatten_levels([self.conv(full_precision(tower_map)) for tower_map in tower_maps])
        return offsets[queries.images, queries.index].unflatten(1, (-1, 2))
