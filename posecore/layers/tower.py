"""A tower, the stack of 3x3 convolutions between a feature map and a prediction: :class:`Tower`."""

from torch import nn

from posecore.layers.norm import NORM_GROUP_WIDTH, make_norm

# Standard deviation of the initial weights of heads, as in RetinaNet and FCOS.
INIT_STD = 0.01


class Tower(nn.Sequential):
    """``num_convs`` times [3x3 convolution, norm, ReLU]; (N, in_channels, H, W) -> (N, channels, H, W).

    With ``groups`` > 1 the output of the first convolution is split into groups, which later convolutions and
    norms do not mix.

    Args:
        in_channels: channels of the input.
        channels: width of the tower, all groups together.
        num_convs: depth; 0 gives the identity.
        norm: "GN", "BN", "SyncBN", or "" for none.
        groups: number of groups, which share only the input of the first convolution.
        first_groups: groups of the first convolution, for an input that is grouped already.
        bias: whether convolutions have one; by default unless the norm is a BatchNorm, which makes it
            redundant.
    """

    def __init__(
        self,
        in_channels: int,
        channels: int,
        num_convs: int,
        norm: str = "GN",
        groups: int = 1,
        first_groups: int = 1,
        bias: bool | None = None,
    ) -> None:
        # In a grouped tower no group of a GroupNorm covers channels of two groups of the tower.
        norm_groups = groups * max(channels // groups // NORM_GROUP_WIDTH, 1) if groups > 1 else None
        layers: list[nn.Module] = []
        for index in range(num_convs):
            conv = nn.Conv2d(
                in_channels if index == 0 else channels,
                channels,
                kernel_size=3,
                padding=1,
                groups=first_groups if index == 0 else groups,
                bias=not norm.endswith("BN") if bias is None else bias,
            )
            layers += [init_conv(conv), make_norm(norm, channels, norm_groups), nn.ReLU(inplace=True)]
        super().__init__(*layers)


def init_conv(conv: nn.Conv2d, bias: float = 0.0) -> nn.Conv2d:
    """Draws the weights of a head's convolution from N(0, 0.01), sets its bias, and returns it."""
    nn.init.normal_(conv.weight, std=INIT_STD)
    if conv.bias is not None:
        nn.init.constant_(conv.bias, bias)
    return conv
