"""The naive keypoint branch of DirectPose: one convolution regresses all keypoints at each location.

Source: DirectPose (arXiv 1911.07451), section 3.1.

Letters: N images, C channels, R locations, Q selected locations, K keypoints.
"""

import torch
from detectron2.config import CfgNode
from torch import Tensor, nn

from posecore.layers.precision import full_precision
from posecore.layers.tower import Tower, init_conv
from posecore.modeling.fcos.head import flatten_levels
from posecore.modeling.fcos.locations import Locations, SelectedLocations
from posecore.structures.skeleton import Skeleton


class NaiveKeypointBranch(nn.Module):
    """A tower and a 3x3 convolution to 2K channels, x and y of each keypoint.

    Args:
        tower: maps a level of the pyramid, (N, C, H, W), to (N, C', H, W).
        channels: C', channels of the tower.
        num_keypoints: K.
    """

    def __init__(self, tower: nn.Module, channels: int, num_keypoints: int) -> None:
        super().__init__()
        self.tower = tower
        self.conv = init_conv(nn.Conv2d(channels, 2 * num_keypoints, 3, padding=1))

    @classmethod
    def from_config(cls, cfg: CfgNode, skeleton: Skeleton, in_channels: int) -> "NaiveKeypointBranch":
        """Reads the size of the tower from MODEL.FCOS.

        Args:
            in_channels: C, channels of the pyramid.
        """
        fcos = cfg.MODEL.FCOS
        return cls(
            tower=Tower(in_channels, fcos.CHANNELS, fcos.NUM_CONVS, fcos.NORM),
            channels=fcos.CHANNELS,
            num_keypoints=skeleton.num_keypoints,
        )

    def forward(self, features: list[Tensor], locations: Locations, selected: SelectedLocations) -> Tensor:
        """Predicts the keypoints at Q selected locations, in full precision also under autocast.

        Args:
            features: the pyramid, one (N, C, H_l, W_l) map per level.
            locations: the R locations of these levels.
            selected: Q of the N * R locations.

        Returns:
            (Q, K, 2) positions relative to the location, in cells of its level.
        """
        towers = [self.tower(feature) for feature in features]
        with torch.autocast(features[0].device.type, enabled=False):
            offsets = flatten_levels([self.conv(full_precision(tower)) for tower in towers])
        return offsets[selected.images, selected.index].unflatten(1, (-1, 2))
