"""The feature pyramid on a backbone, FPN and further levels above its last: :func:`build_pyramid`."""

import torch.nn.functional as F
from detectron2.config import CfgNode
from detectron2.modeling.backbone import FPN, Backbone
from fvcore.nn import weight_init
from torch import Tensor, nn


class TopLevels(nn.Module):
    """Levels above the pyramid's last one, each by a 3x3 convolution of stride 2 (RetinaNet's P6, P7).

    The first takes the last output of the pyramid; a ReLU precedes each further one.

    Args:
        first: number of the first level, 6 above P5; parameters are named p6, p7, ...
        num_levels: number of levels.
        channels: of every level.
    """

    def __init__(self, first: int, num_levels: int, channels: int) -> None:
        super().__init__()
        # FPN reads these two attributes of its top block.
        self.num_levels = num_levels
        self.in_feature = f"p{first - 1}"
        for level in range(first, first + num_levels):
            conv = nn.Conv2d(channels, channels, 3, stride=2, padding=1)
            weight_init.c2_xavier_fill(conv)
            self.add_module(f"p{level}", conv)

    def forward(self, last: Tensor) -> list[Tensor]:
        """(N, C, H, W) -> one map per level, each half the size of the one before, rounded up."""
        levels: list[Tensor] = []
        for conv in self.children():
            levels.append(conv(F.relu(levels[-1]) if levels else last))
        return levels


def build_pyramid(cfg: CfgNode, bottom_up: Backbone, in_features: list[str]) -> FPN:
    """FPN on the named maps of ``bottom_up``, with ``MODEL.FPN.TOP_LEVELS`` levels above."""
    channels = cfg.MODEL.FPN.OUT_CHANNELS
    last_stride = bottom_up.output_shape()[in_features[-1]].stride
    top = TopLevels(last_stride.bit_length(), cfg.MODEL.FPN.TOP_LEVELS, channels)
    return FPN(
        bottom_up=bottom_up,
        in_features=in_features,
        out_channels=channels,
        norm=cfg.MODEL.FPN.NORM,
        top_block=top if top.num_levels else None,
        fuse_type=cfg.MODEL.FPN.FUSE_TYPE,
    )
