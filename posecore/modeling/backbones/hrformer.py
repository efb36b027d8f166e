"""HRFormer, an HRNet whose blocks attend within windows: :class:`HRFormer` (arXiv 2110.09408).

It is the form that Poseur uses. Four branches of strides 4, 8, 16 and 32 run in parallel and are fused
repeatedly. x_i is the map of branch i, (N, C_i, H_i, W_i). Images may have any size; each branch rounds its
size up.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from functools import reduce

import torch
import torch.nn.functional as F
from detectron2.config import CfgNode
from detectron2.layers import ShapeSpec
from detectron2.modeling import BACKBONE_REGISTRY
from detectron2.modeling.backbone import Backbone
from timm.layers import DropPath, LayerNorm2d
from timm.models.resnet import Bottleneck
from torch import Tensor, nn

from posecore.config.options import choice
from posecore.layers.norm import BATCH_NORMS, BatchNorm, convert_batch_norms

STRIDES = (4, 8, 16, 32)
STEM_CHANNELS = 64


@dataclass(frozen=True)
class Size:
    """The numbers in which the sizes of HRFormer differ.

    Attributes:
        channels: of the four branches.
        heads: attention heads of the four branches.
        modules: number of modules in stages 2, 3 and 4.
    """

    channels: tuple[int, ...]
    heads: tuple[int, ...]
    modules: tuple[int, ...]


SIZES = {
    "T": Size((18, 36, 72, 144), heads=(1, 2, 4, 8), modules=(1, 3, 2)),
    "S": Size((32, 64, 128, 256), heads=(1, 2, 4, 8), modules=(1, 4, 2)),
    "B": Size((78, 156, 312, 624), heads=(2, 4, 8, 16), modules=(1, 4, 2)),
}


class WindowAttention(nn.Module):
    """Self-attention within windows, without position encodings.

    A map is padded with zeros on all sides to whole windows; padded cells take part like any other.

    Args:
        channels: of the map.
        heads: number of attention heads; divides the channels.
        window: side of a window, in cells.
    """

    def __init__(self, channels: int, heads: int, window: int) -> None:
        super().__init__()
        self.heads = heads
        self.window = window
        self.query = nn.Linear(channels, channels)
        self.key = nn.Linear(channels, channels)
        self.value = nn.Linear(channels, channels)
        self.out = nn.Linear(channels, channels)

    def forward(self, x: Tensor) -> Tensor:
        """(N, C, H, W) -> (N, C, H, W)."""
        height, width = x.shape[2:]
        missing_y, missing_x = -height % self.window, -width % self.window
        top, left = missing_y // 2, missing_x // 2
        x = F.pad(x, (left, missing_x - left, top, missing_y - top))
        x = x.unflatten(3, (-1, self.window)).unflatten(2, (-1, self.window))
        x = x.permute(0, 2, 4, 3, 5, 1)  # (N, rows of windows, columns of windows, window, window, C)
        cells = x.flatten(3, 4).flatten(0, 2)

        q, k, v = (
            project(cells).unflatten(-1, (self.heads, -1)).transpose(1, 2)
            for project in (self.query, self.key, self.value)
        )
        seen = self.out(F.scaled_dot_product_attention(q, k, v).transpose(1, 2).flatten(2))

        x = seen.view(x.shape).permute(0, 5, 1, 3, 2, 4).flatten(4, 5).flatten(2, 3)
        return x[:, :, top : top + height, left : left + width]


class Block(nn.Module):
    """Attention within windows, then an MLP whose depthwise convolution connects the windows.

    Args:
        channels, heads, window: as in :class:`WindowAttention`.
        drop_path: probability that a residual is left out in training.
        mlp_ratio: hidden channels of the MLP, in ``channels``.
    """

    def __init__(
        self, channels: int, heads: int, window: int, drop_path: float = 0.0, mlp_ratio: int = 4
    ) -> None:
        super().__init__()
        hidden = mlp_ratio * channels
        self.norm1 = LayerNorm2d(channels, eps=1e-6)
        self.attention = WindowAttention(channels, heads, window)
        self.norm2 = LayerNorm2d(channels, eps=1e-6)
        self.mlp = nn.Sequential(
            nn.Conv2d(channels, hidden, 1),
            nn.BatchNorm2d(hidden),
            nn.GELU(),
            nn.Conv2d(hidden, hidden, 3, padding=1, groups=hidden),
            nn.BatchNorm2d(hidden),
            nn.GELU(),
            nn.Conv2d(hidden, channels, 1),
            nn.BatchNorm2d(channels),
            nn.GELU(),
        )
        self.drop_path = DropPath(drop_path)

    def forward(self, x: Tensor) -> Tensor:
        """(N, C, H, W) -> (N, C, H, W)."""
        x = x + self.drop_path(self.attention(self.norm1(x)))
        return x + self.drop_path(self.mlp(self.norm2(x)))


def _conv(in_channels: int, out_channels: int, stride: int) -> nn.Sequential:
    """A 3x3 convolution with BatchNorm and ReLU."""
    conv = nn.Conv2d(in_channels, out_channels, 3, stride, padding=1, bias=False)
    return nn.Sequential(conv, nn.BatchNorm2d(out_channels), nn.ReLU(inplace=True))


def _halve(in_channels: int, out_channels: int, relu: bool) -> nn.Sequential:
    """A depthwise convolution that halves the size, and a 1x1 convolution to the output channels."""
    depthwise = nn.Conv2d(in_channels, in_channels, 3, stride=2, padding=1, groups=in_channels, bias=False)
    mix = nn.Conv2d(in_channels, out_channels, 1, bias=False)
    layers = [depthwise, nn.BatchNorm2d(in_channels), mix, nn.BatchNorm2d(out_channels)]
    return nn.Sequential(*layers, *([nn.ReLU(inplace=True)] if relu else []))


class Fusion(nn.Module):
    """The new map of a branch: the sum of all branches, each brought to its size and channels.

    Args:
        channels: of the branches, finest first.
        target: index of the branch.
    """

    def __init__(self, channels: Sequence[int], target: int) -> None:
        super().__init__()
        self.target = target
        self.paths = nn.ModuleList(_path(channels, source, target) for source in range(len(channels)))

    def forward(self, maps: Sequence[Tensor]) -> Tensor:
        """[x_i] -> (N, C_target, H_target, W_target)."""
        size = maps[self.target].shape[2:]
        reached = [path(x) for path, x in zip(self.paths, maps, strict=True)]
        return F.relu(reduce(torch.add, [_enlarge(x, size) for x in reached]))


def _path(channels: Sequence[int], source: int, target: int) -> nn.Sequential:
    """The layers from one branch to another; maps of coarser branches must then be upsampled."""
    width, wanted = channels[source], channels[target]
    if source > target:
        return nn.Sequential(nn.Conv2d(width, wanted, 1, bias=False), nn.BatchNorm2d(wanted))
    steps = target - source
    last = [_halve(width, wanted, relu=False)] if steps else []
    return nn.Sequential(*(_halve(width, width, relu=True) for _ in range(steps - 1)), *last)


def _enlarge(x: Tensor, size: torch.Size) -> Tensor:
    return x if x.shape[2:] == size else F.interpolate(x, size, mode="bilinear", align_corners=False)


class HighResolutionModule(nn.Module):
    """The blocks of parallel branches, and their fusion.

    Args:
        channels, heads: of the branches, finest first.
        window: side of the attention's windows, in cells.
        drop_paths: drop-path probabilities of the blocks, the same in every branch.
    """

    def __init__(
        self, channels: Sequence[int], heads: Sequence[int], window: int, drop_paths: Sequence[float]
    ) -> None:
        super().__init__()
        self.branches = nn.ModuleList(
            nn.Sequential(*(Block(width, count, window, drop) for drop in drop_paths))
            for width, count in zip(channels, heads, strict=True)
        )
        self.fusions = nn.ModuleList(Fusion(channels, target) for target in range(len(channels)))

    def forward(self, maps: Sequence[Tensor]) -> list[Tensor]:
        """[x_i] -> [x_i]."""
        maps = [branch(x) for branch, x in zip(self.branches, maps, strict=True)]
        return [fusion(maps) for fusion in self.fusions]


class HRFormer(Backbone):
    """HRFormer; returns its maps of strides 4, 8, 16 and 32, named ``stride4``, ... .

    Args:
        size: channels, heads and modules, such as ``SIZES["S"]``.
        drop_path: probability that the last block's residuals are left out; it rises linearly from 0 at the
            first block.
        norm: form of the BatchNorms.
        in_channels: channels of the image.
        window: side of the attention's windows, in cells.
        blocks: number of blocks in every branch of a module.
        bottlenecks: number of bottleneck blocks at stride 4 before the branches.
    """

    def __init__(
        self,
        size: Size,
        drop_path: float = 0.0,
        norm: BatchNorm = "BN",
        in_channels: int = 3,
        window: int = 7,
        blocks: int = 2,
        bottlenecks: int = 2,
    ) -> None:
        super().__init__()
        self.stem = nn.Sequential(
            *_conv(in_channels, STEM_CHANNELS, stride=2), *_conv(STEM_CHANNELS, STEM_CHANNELS, stride=2)
        )
        width = STEM_CHANNELS * Bottleneck.expansion
        shortcut = nn.Sequential(nn.Conv2d(STEM_CHANNELS, width, 1, bias=False), nn.BatchNorm2d(width))
        self.layer1 = nn.Sequential(
            Bottleneck(STEM_CHANNELS, STEM_CHANNELS, downsample=shortcut),
            *(Bottleneck(width, STEM_CHANNELS) for _ in range(bottlenecks - 1)),
        )
        self.enter = _conv(width, size.channels[0], stride=1)
        # Each stage adds a branch, which starts from the coarsest map of the stage before.
        starts = [width, *size.channels[1:-1]]
        self.starts = nn.ModuleList(
            _conv(coarsest, start, stride=2)
            for coarsest, start in zip(starts, size.channels[1:], strict=True)
        )
        drops = (
            torch.linspace(0, drop_path, blocks * sum(size.modules), device="cpu").view(-1, blocks).tolist()
        )
        self.stages = nn.ModuleList()
        for branches, modules in enumerate(size.modules, start=2):
            self.stages.append(
                nn.Sequential(
                    *(
                        HighResolutionModule(size.channels[:branches], size.heads[:branches], window, drop)
                        for drop in drops[:modules]
                    )
                )
            )
            drops = drops[modules:]
        self._shapes = {
            f"stride{stride}": ShapeSpec(channels=channels, stride=stride)
            for stride, channels in zip(STRIDES, size.channels, strict=True)
        }
        self.apply(_initialize)
        convert_batch_norms(self, norm)

    def forward(self, image: Tensor) -> dict[str, Tensor]:
        """(N, 3, H, W) -> {"stride4": (N, C_0, H / 4, W / 4), ...}."""
        coarsest = self.layer1(self.stem(image))
        maps = [self.enter(coarsest)]
        for start, stage in zip(self.starts, self.stages, strict=True):
            maps = stage([*maps, start(coarsest)])
            coarsest = maps[-1]
        return dict(zip(self._shapes, maps, strict=True))

    def output_shape(self) -> dict[str, ShapeSpec]:
        """Channels and stride of each map."""
        return self._shapes


def _initialize(module: nn.Module) -> None:
    if isinstance(module, nn.Conv2d):
        nn.init.kaiming_normal_(module.weight, mode="fan_out", nonlinearity="relu")
    elif isinstance(module, nn.Linear):
        nn.init.trunc_normal_(module.weight, std=0.02)
    if isinstance(module, nn.Conv2d | nn.Linear) and module.bias is not None:
        nn.init.zeros_(module.bias)


@BACKBONE_REGISTRY.register()
def build_hrformer_backbone(cfg: CfgNode, input_shape: ShapeSpec) -> HRFormer:
    """HRFormer-T, -S or -B, as MODEL.HRFORMER asks for."""
    return HRFormer(
        choice(cfg, "MODEL.HRFORMER.SIZE", SIZES),
        drop_path=cfg.MODEL.HRFORMER.DROP_PATH,
        norm=choice(cfg, "MODEL.HRFORMER.NORM", BATCH_NORMS),
        in_channels=input_shape.channels,
    )
