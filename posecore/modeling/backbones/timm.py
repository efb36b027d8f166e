"""timm models with feature maps as Detectron2 backbones: :class:`TimmBackbone`."""

from collections.abc import Callable, Sequence
from functools import partial
from typing import Any, Literal

import timm
import torch
import torch.nn.functional as F
from detectron2.config import CfgNode
from detectron2.layers import ShapeSpec
from detectron2.modeling import BACKBONE_REGISTRY
from detectron2.modeling.backbone import FPN, Backbone
from timm.layers import Format, LayerNorm2d
from timm.models.efficientnet import EfficientNetFeatures
from timm.models.mobilenetv3 import MobileNetV3Features
from torch import Tensor, nn

from posecore.config.options import choice
from posecore.layers.norm import BATCH_NORMS, BatchNorm, convert_batch_norms
from posecore.modeling.backbones.pyramid import build_pyramid

# The layers of MobileNets and EfficientNets that timm treats as part of the classifier.
HEAD_CONV = ("conv_head", "bn2")
# Side of the patches that a Swin divides images into, pixels; images are padded with zeros to whole patches.
SWIN_PATCH = 4

# The norm of the maps that a backbone returns.
OutNorm = Literal["", "LN"]
OUT_NORMS: dict[OutNorm, Callable[[int], nn.Module]] = {
    "": lambda channels: nn.Identity(),
    "LN": partial(LayerNorm2d, eps=1e-5),
}


class TimmBackbone(Backbone):
    """The feature maps of a timm model at chosen strides; parameters have timm's names after ``body.``.

    Args:
        name: as in ``timm.list_models()``.
        strides: of the returned maps, finest first; of several maps of the same stride the deepest is taken.
        norm: form of the BatchNorms.
        in_channels: channels of the image.
        feature_location: for HRNets, "incre" (widened maps) or "" (the maps themselves).
        head_conv: whether the last map goes through the 1x1 convolution before the classifier (MobileNets
            and EfficientNets, 320 -> 1280 channels).
        out_norm: norm of each map: "LN" (over the channels, as detectors have it on Swin) or "" for none.
        drop_path: probability that the last block's residuals are left out; 0 for timm's own.
        freeze_stride: the layers that the map of this stride depends on are constant, their BatchNorms too,
            as Detectron2 freezes the first stages of a ResNet; 0 trains all.

    Maps are named ``stride8``, ``stride16``, ...

    Attributes:
        name: as given.

    Raises:
        ValueError: timm has no such model, or the model has no map of a stride or no such convolution.
    """

    def __init__(
        self,
        name: str,
        strides: Sequence[int] = (8, 16, 32),
        norm: BatchNorm = "BN",
        in_channels: int = 3,
        feature_location: str = "",
        head_conv: bool = False,
        out_norm: OutNorm = "",
        drop_path: float = 0.0,
        freeze_stride: int = 0,
    ) -> None:
        super().__init__()
        if not timm.is_model(name):
            near = timm.list_models(f"*{name.split('_')[0]}*")[:5] if name else []
            raise ValueError(f"MODEL.TIMM.NAME must be a timm model, not {name!r}; near it: {near}")
        self.name = name
        options: dict[str, Any] = {"feature_location": feature_location} if name.startswith("hrnet") else {}
        if name.startswith("swin_"):  # images of any size, windows that are shifted on the smallest map too
            options |= {"strict_img_size": False, "always_partition": True}
        if drop_path:
            options["drop_path_rate"] = drop_path
        with torch.device("meta"):
            every: Any = timm.create_model(name, features_only=True, **options).feature_info
        reductions = every.reduction()
        _check_strides("MODEL.TIMM.STRIDES", strides, reductions, name)
        # The deepest map of each stride, because its features have the largest receptive field.
        deepest = {stride: index for index, stride in enumerate(reductions)}
        indices = [deepest[stride] for stride in strides]
        # With these indices timm leaves out the layers after the last map in most models.
        kept = [every.out_indices[index] for index in indices]
        channels = [every.channels()[index] for index in indices]
        body = timm.create_model(name, features_only=True, in_chans=in_channels, out_indices=kept, **options)
        if name.startswith("hrnet"):
            _freeze_unread(body, kept)
        elif not head_conv and isinstance(body, (EfficientNetFeatures, MobileNetV3Features)):
            _remove_unread(body)
        self._behind = HEAD_CONV if head_conv else ()
        if head_conv:
            channels[-1] = _add_head_conv(body, name)
        if freeze_stride:
            _check_strides("MODEL.TIMM.FREEZE_STRIDE", (freeze_stride,), reductions, name)
            _freeze_layers(body, name, every.out_indices[deepest[freeze_stride]], options)
        self.body = convert_batch_norms(body, norm)
        self._channels_last = getattr(body, "output_fmt", None) == Format.NHWC
        self._patch = SWIN_PATCH if name.startswith("swin_") else 1
        self.out_norms = nn.ModuleList(OUT_NORMS[out_norm](width) for width in channels)
        self._shapes = {
            f"stride{stride}": ShapeSpec(channels=width, stride=stride)
            for width, stride in zip(channels, strides, strict=True)
        }

    def forward(self, image: Tensor) -> dict[str, Tensor]:
        """(N, C, H, W) -> {name: (N, C_s, H / s, W / s)}."""
        height, width = image.shape[2:]
        maps = self.body(F.pad(image, (0, -width % self._patch, 0, -height % self._patch)))
        if self._channels_last:
            maps = [x.permute(0, 3, 1, 2) for x in maps]
        for layer in self._behind:
            maps[-1] = self.body.get_submodule(layer)(maps[-1])
        maps = [norm(x) for norm, x in zip(self.out_norms, maps, strict=True)]
        return dict(zip(self._shapes, maps, strict=True))

    def output_shape(self) -> dict[str, ShapeSpec]:
        """Channels and stride of each map."""
        return self._shapes


def _check_strides(key: str, strides: Sequence[int], possible: Sequence[int], name: str) -> None:
    """Raises ValueError where the model has no map of a stride."""
    missing = sorted(set(strides) - set(possible))
    if missing:
        raise ValueError(f"{key} must be among the strides {sorted(set(possible))} of {name}, not {missing}")


def _freeze_layers(body: nn.Module, name: str, index: int, options: dict[str, Any]) -> None:
    """Makes the layers constant that the map at ``index`` depends on, as far as the model has them.

    These are the ones that get a gradient from it. timm's models have no other common form that tells them.
    """
    parameters = dict(body.named_parameters())
    with torch.device("meta"):
        probe = timm.create_model(name, features_only=True, out_indices=(index,), **options)
        probe(torch.zeros(2, 3, 64, 64))[0].sum().backward()
    for key, parameter in probe.named_parameters():
        if parameter.grad is not None and key in parameters:
            parameters[key].requires_grad_(False)
    for key, module in list(body.named_modules()):
        if isinstance(module, nn.BatchNorm2d) and not module.weight.requires_grad:
            parent, _, child = key.rpartition(".")
            setattr(body.get_submodule(parent), child, convert_batch_norms(module, "FrozenBN"))


def _freeze_unread(hrnet: Any, kept: Sequence[int]) -> None:
    """Freezes the parameters of maps that are not returned.

    The last fusion of an HRNet computes all maps, and trainable parameters without a gradient stop
    distributed training. They are not removed, so that published weights fit.
    """
    for index, fusion in enumerate(hrnet.stage4[-1].fuse_layers):
        if index + 1 not in kept:  # map 0 is the stem's
            fusion.requires_grad_(False)
            if hrnet.incre_modules is not None:
                hrnet.incre_modules[index].requires_grad_(False)


def _remove_unread(body: EfficientNetFeatures | MobileNetV3Features) -> None:
    """Removes the blocks after the last returned map, which timm keeps in these models.

    Their parameters would get no gradient, which stops distributed training.
    """
    last = body.feature_info.module_name()[-1]
    if last.startswith("blocks."):
        del body.blocks[int(last.removeprefix("blocks.")) + 1 :]


def _add_head_conv(body: nn.Module, name: str) -> int:
    """Adds the layers before the classifier under timm's names; returns the number of output channels."""
    whole: Any = timm.create_model(name, num_classes=0)
    for layer in HEAD_CONV:
        if not hasattr(whole, layer):
            raise ValueError(f"MODEL.TIMM.HEAD_CONV: {name} has no {layer} before its classifier")
        body.add_module(layer, whole.get_submodule(layer))
    return whole.num_features


@BACKBONE_REGISTRY.register()
def build_timm_backbone(cfg: CfgNode, input_shape: ShapeSpec) -> TimmBackbone:
    """The timm model MODEL.TIMM.NAME, with its maps of MODEL.TIMM.STRIDES."""
    return TimmBackbone(
        cfg.MODEL.TIMM.NAME,
        strides=tuple(cfg.MODEL.TIMM.STRIDES),
        norm=choice(cfg, "MODEL.TIMM.NORM", BATCH_NORMS),
        in_channels=input_shape.channels,
        feature_location=cfg.MODEL.TIMM.FEATURE_LOCATION,
        head_conv=cfg.MODEL.TIMM.HEAD_CONV,
        out_norm=choice(cfg, "MODEL.TIMM.OUT_NORM", {"": "", "LN": "LN"}),
        drop_path=cfg.MODEL.TIMM.DROP_PATH,
        freeze_stride=cfg.MODEL.TIMM.FREEZE_STRIDE,
    )


@BACKBONE_REGISTRY.register()
def build_fcos_timm_fpn_backbone(cfg: CfgNode, input_shape: ShapeSpec) -> FPN:
    """The timm model MODEL.TIMM.NAME and FPN on its maps of MODEL.TIMM.STRIDES."""
    body = build_timm_backbone(cfg, input_shape)
    return build_pyramid(cfg, body, list(body.output_shape()))
