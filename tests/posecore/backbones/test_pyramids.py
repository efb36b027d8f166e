import pytest
import torch
from detectron2.layers import FrozenBatchNorm2d
from detectron2.modeling import build_backbone
from torch import nn

from posecore.backbones import TimmBackbone
from posecore.config import get_cfg


def pyramid(*overrides: object) -> nn.Module:
    cfg = get_cfg()
    cfg.merge_from_list(
        [
            *("MODEL.RESNETS.OUT_FEATURES", ["res3", "res4", "res5"]),
            *("MODEL.FPN.IN_FEATURES", ["res3", "res4", "res5"]),
            *("MODEL.FPN.OUT_CHANNELS", 16),
            *overrides,
        ]
    )
    return build_backbone(cfg)


RESNET = ("MODEL.BACKBONE.NAME", "build_fcos_resnet_fpn_backbone")
TIMM = ("MODEL.BACKBONE.NAME", "build_fcos_timm_fpn_backbone")


@pytest.mark.parametrize(("top", "levels"), [(0, "345"), (1, "3456"), (2, "34567")])
def test_resnet_levels(top: int, levels: str) -> None:
    depth = ("MODEL.RESNETS.DEPTH", 18, "MODEL.RESNETS.RES2_OUT_CHANNELS", 64)
    backbone = pyramid(*RESNET, *depth, "MODEL.FPN.TOP_LEVELS", top)
    maps = backbone(torch.zeros(1, 3, 64, 96))
    assert list(maps) == [f"p{level}" for level in levels]
    for level, feature in maps.items():
        stride = 2 ** int(level[1])
        assert feature.shape == (1, 16, -(-64 // stride), -(-96 // stride))
        assert backbone.output_shape()[level].stride == stride


def test_p6_reads_p5_and_p7_reads_relu_p6() -> None:
    depth = ("MODEL.RESNETS.DEPTH", 18, "MODEL.RESNETS.RES2_OUT_CHANNELS", 64)
    backbone = pyramid(*RESNET, *depth)
    maps = backbone(torch.randn(1, 3, 128, 128))
    p6 = backbone.top_block.p6(maps["p5"])
    assert torch.equal(maps["p6"], p6)
    assert torch.equal(maps["p7"], backbone.top_block.p7(p6.relu()))


@pytest.mark.parametrize("name", ["dla34", "mobilenetv2_100", "convnext_atto", "resnet10t"])
def test_any_timm_backbone_trains_every_weight(name: str) -> None:
    backbone = pyramid(*TIMM, "MODEL.TIMM.NAME", name)
    maps = backbone(torch.randn(1, 3, 64, 64))
    assert [feature.shape[-1] for feature in maps.values()] == [8, 4, 2, 1, 1]
    sum(feature.sum() for feature in maps.values()).backward()
    assert [key for key, parameter in backbone.named_parameters() if parameter.grad is None] == []


def test_timm_norms() -> None:
    frozen = TimmBackbone("resnet10t", norm="FrozenBN")
    assert any(isinstance(module, FrozenBatchNorm2d) for module in frozen.modules())
    assert not any(isinstance(module, nn.BatchNorm2d) for module in frozen.modules())
    synced = TimmBackbone("resnet10t", norm="SyncBN")
    assert any(isinstance(module, nn.SyncBatchNorm) for module in synced.modules())


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"name": "dla43"}, "dla43"),
        ({"name": ""}, "MODEL.TIMM.NAME"),
        ({"name": "resnet10t", "strides": (8, 64)}, "MODEL.TIMM.STRIDES"),
        ({"name": "resnet10t", "norm": "GN"}, "MODEL.TIMM.NORM"),
    ],
)
def test_wrong_settings_name_the_key(arguments: dict, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        TimmBackbone(**arguments)
