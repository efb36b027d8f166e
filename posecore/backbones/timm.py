"""Any timm model that gives feature maps, as a Detectron2 backbone."""

from collections.abc import Sequence
from typing import Any

import timm
import torch
from detectron2.config import CfgNode
from detectron2.layers import FrozenBatchNorm2d, ShapeSpec
from detectron2.modeling import BACKBONE_REGISTRY
from detectron2.modeling.backbone import FPN, Backbone
from torch import Tensor, nn

from posecore.backbones.pyramid import build_pyramid

# What becomes of the model's BatchNorms, by MODEL.TIMM.NORM.
_CONVERT_NORM = {
    "BN": lambda model: model,
    "FrozenBN": FrozenBatchNorm2d.convert_frozen_batchnorm,
    "SyncBN": nn.SyncBatchNorm.convert_sync_batchnorm,
}


class TimmBackbone(Backbone):
    """The feature maps of a timm model at chosen strides; parameters are timm's, under ``body.``.

    Args:
        name: as in ``timm.list_models()``.
        strides: of the wanted maps, finest first; where several maps have one, the deepest is taken.
        norm: "BN" (trained), "FrozenBN" or "SyncBN".
        in_channels: channels of the picture.
        feature_location: for HRNets, "incre" (widened maps) or "" (the maps themselves).

    Maps are named ``stride8``, ``stride16``, ...

    Raises:
        ValueError: timm has no such model, or it has no map of a wanted stride.
    """

    def __init__(
        self,
        name: str,
        strides: Sequence[int] = (8, 16, 32),
        norm: str = "BN",
        in_channels: int = 3,
        feature_location: str = "",
    ) -> None:
        super().__init__()
        if norm not in _CONVERT_NORM:
            raise ValueError(f"MODEL.TIMM.NORM must be one of {sorted(_CONVERT_NORM)}, got {norm!r}")
        if not timm.is_model(name):
            near = timm.list_models(f"*{name.split('_')[0]}*")[:5] if name else []
            raise ValueError(f"MODEL.TIMM.NAME {name!r} is no timm model; near it: {near}")
        options: dict[str, Any] = {"feature_location": feature_location} if name.startswith("hrnet") else {}
        with torch.device("meta"):
            every: Any = timm.create_model(name, features_only=True, **options).feature_info
        reductions = every.reduction()
        missing = sorted(set(strides) - set(reductions))
        if missing:
            raise ValueError(
                f"MODEL.TIMM.STRIDES asks {name} for strides {missing}; "
                f"its maps have {sorted(set(reductions))}"
            )
        # The deepest map of each stride: features further along see more.
        indices = [len(reductions) - 1 - reductions[::-1].index(stride) for stride in strides]
        self._shapes = {
            f"stride{stride}": ShapeSpec(channels=every.channels()[index], stride=stride)
            for index, stride in zip(indices, strides, strict=True)
        }
        # Asking for these maps alone drops the layers behind them.
        kept = [every.out_indices[index] for index in indices]
        body = timm.create_model(name, features_only=True, in_chans=in_channels, out_indices=kept, **options)
        self.body = _CONVERT_NORM[norm](body)

    def forward(self, image: Tensor) -> dict[str, Tensor]:
        """(N, C, H, W) -> {name: (N, C_s, H / s, W / s)}."""
        return dict(zip(self._shapes, self.body(image), strict=True))

    def output_shape(self) -> dict[str, ShapeSpec]:
        return self._shapes


@BACKBONE_REGISTRY.register()
def build_fcos_timm_fpn_backbone(cfg: CfgNode, input_shape: ShapeSpec) -> FPN:
    """The timm model MODEL.TIMM.NAME and FPN on its maps of MODEL.TIMM.STRIDES."""
    body = TimmBackbone(
        cfg.MODEL.TIMM.NAME,
        strides=tuple(cfg.MODEL.TIMM.STRIDES),
        norm=cfg.MODEL.TIMM.NORM,
        in_channels=input_shape.channels,
        feature_location=cfg.MODEL.TIMM.FEATURE_LOCATION,
    )
    return build_pyramid(cfg, body, list(body.output_shape()))
