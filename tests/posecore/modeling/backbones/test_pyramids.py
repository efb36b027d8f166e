import pytest
import torch
from detectron2.modeling import build_backbone
from helpers.configs import override_list
from torch import nn

from posecore.config import get_cfg
from posecore.modeling.backbones import TimmBackbone


def pyramid(*overrides: object) -> nn.Module:
    cfg = get_cfg()
    cfg.merge_from_list(
        [
            *override_list(
                {
                    "MODEL.RESNETS.OUT_FEATURES": ["res3", "res4", "res5"],
                    "MODEL.FPN.IN_FEATURES": ["res3", "res4", "res5"],
                    "MODEL.FPN.OUT_CHANNELS": 16,
                }
            ),
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


@pytest.mark.parametrize("name", ["tf_efficientnet_lite0", "mobilenetv3_small_050", "resnet10t"])
def test_layers_after_the_last_map_are_not_there(name: str) -> None:
    """Distributed training stops at a trained parameter without a gradient."""
    with torch.device("meta"):
        backbone = TimmBackbone(name, strides=(4, 16))
        maps = backbone(torch.zeros(2, 3, 64, 64))
    assert {key: feature.shape[-1] for key, feature in maps.items()} == {"stride4": 16, "stride16": 4}
    sum(feature.sum() for feature in maps.values()).backward()
    assert [key for key, parameter in backbone.named_parameters() if parameter.grad is None] == []


@pytest.mark.parametrize("strides", [(8, 16, 32), (4, 8, 16, 32)])
@pytest.mark.parametrize("location", ["", "incre"])
def test_hrnet_trains_what_its_maps_depend_on(strides: tuple[int, ...], location: str) -> None:
    """Distributed training stops at a trained parameter without a gradient."""
    with torch.device("meta"):
        backbone = TimmBackbone("hrnet_w18_small", strides=strides, feature_location=location)
        sum(feature.sum() for feature in backbone(torch.zeros(1, 3, 64, 64)).values()).backward()
    trained = {name: p for name, p in backbone.named_parameters() if p.requires_grad}
    assert [name for name, parameter in trained.items() if parameter.grad is None] == []
    frozen = {name for name, p in backbone.named_parameters() if not p.requires_grad}
    unread = ("body.stage4.0.fuse_layers.0.", "body.incre_modules.0.")
    assert all(name.startswith(unread) for name in frozen)
    assert bool(frozen) == (4 not in strides)


FROZEN = {
    "tf_efficientnet_lite0": ("conv_stem", "bn1", "blocks.0", "blocks.1"),
    "resnet10t": ("conv1", "bn1", "layer1"),
    "convnext_atto": ("stem_0", "stem_1", "stages_0"),
    "swin_tiny_patch4_window7_224": ("patch_embed", "layers_0"),
}


@pytest.mark.parametrize("name", FROZEN)
def test_freeze_stride(name: str) -> None:
    """The layers up to the map are constant in training, whether or not it is returned; the others learn."""
    torch.manual_seed(0)
    plain = TimmBackbone(name, strides=(8, 32)).train()
    backbone = TimmBackbone(name, strides=(8, 32), freeze_stride=4).train()
    backbone.load_state_dict(plain.state_dict(), strict=False)
    inside = tuple(f"body.{layer}." for layer in FROZEN[name])
    frozen = {key for key, _ in plain.named_parameters() if key.startswith(inside)}
    assert frozen
    trained = {key for key, p in backbone.named_parameters() if p.requires_grad}
    assert trained == {key for key, _ in plain.named_parameters()} - frozen

    before = {key: value.clone() for key, value in backbone.state_dict().items()}
    maps = backbone(torch.randn(2, 3, 64, 64))
    sum(values.square().sum() for values in maps.values()).backward()
    assert {key for key, p in backbone.named_parameters() if p.grad is not None} == trained
    changed = {key for key, value in backbone.state_dict().items() if not torch.equal(value, before[key])}
    assert not any(key.startswith(inside) for key in changed)
    image = torch.randn(1, 3, 64, 64)
    backbone.load_state_dict(before)
    for key, expected in plain.eval()(image).items():
        torch.testing.assert_close(backbone.eval()(image)[key], expected)


def test_freezing_beyond_the_last_map_freezes_all() -> None:
    backbone = TimmBackbone("tf_efficientnet_lite0", strides=(4, 8), freeze_stride=32)
    assert not any(parameter.requires_grad for parameter in backbone.parameters())


@pytest.mark.parametrize("norm", ["BN", "SyncBN", "FrozenBN"])
def test_norms_keep_the_activations_in_them(norm: str) -> None:
    """timm's MobileNets have ReLU6 inside of their BatchNorms."""
    torch.manual_seed(0)
    plain = TimmBackbone("mobilenetv2_050", strides=(4, 32), head_conv=True).eval()
    other = TimmBackbone("mobilenetv2_050", strides=(4, 32), head_conv=True, norm=norm).eval()
    other.load_state_dict(plain.state_dict(), strict=norm != "FrozenBN")  # constants count no batches
    image = torch.randn(1, 3, 64, 64)
    for name, expected in plain(image).items():
        torch.testing.assert_close(other(image)[name], expected)
    last = plain(image)["stride32"]
    assert last.min() >= 0
    assert last.max() <= 6


def test_frozen_and_synchronised_norms() -> None:
    frozen = TimmBackbone("resnet10t", norm="FrozenBN")
    assert not any("bn" in name for name, _ in frozen.named_parameters())
    synced = TimmBackbone("resnet10t", norm="SyncBN")
    assert any(isinstance(module, nn.SyncBatchNorm) for module in synced.modules())


def test_plain_backbone_is_the_one_below_the_pyramid() -> None:
    settings = ("MODEL.TIMM.NAME", "resnet10t", "MODEL.TIMM.STRIDES", (8, 16))
    plain = pyramid(*settings, "MODEL.BACKBONE.NAME", "build_timm_backbone")
    over = pyramid(*settings, *TIMM)
    assert [shape.stride for shape in plain.output_shape().values()] == [8, 16]
    assert list(plain.state_dict()) == list(over.bottom_up.state_dict())


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"name": "dla43"}, "dla43"),
        ({"name": ""}, "MODEL.TIMM.NAME"),
        ({"name": "resnet10t", "strides": (8, 64)}, "MODEL.TIMM.STRIDES"),
        ({"name": "resnet10t", "head_conv": True}, "MODEL.TIMM.HEAD_CONV"),
        ({"name": "resnet10t", "freeze_stride": 5}, r"MODEL.TIMM.FREEZE_STRIDE .*\[2, 4, 8, .*not \[5\]"),
    ],
)
def test_wrong_settings_name_the_key(arguments: dict, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        TimmBackbone(**arguments)


def test_an_unknown_norm_names_the_key() -> None:
    settings = ("MODEL.TIMM.NAME", "resnet10t", "MODEL.TIMM.NORM", "GN")
    with pytest.raises(ValueError, match=r"MODEL.TIMM.NORM must be one of 'BN', .*not 'GN'"):
        pyramid(*settings, "MODEL.BACKBONE.NAME", "build_timm_backbone")


@pytest.mark.parametrize("size", [(32, 64), (101, 75)])
def test_a_swin_takes_images_of_any_size(size: tuple[int, int]) -> None:
    """Its maps have their channels last in timm; they are normalized where this is asked for."""
    backbone = TimmBackbone("swin_tiny_patch4_window7_224", strides=(8, 32), out_norm="LN", drop_path=0.2)
    maps = backbone(torch.randn(1, 3, *size))
    for (name, values), channels in zip(maps.items(), (192, 768), strict=True):
        stride = backbone.output_shape()[name].stride
        assert values.shape == (1, channels, *(-(-side // stride) for side in size))
        torch.testing.assert_close(values.mean(dim=1), torch.zeros_like(values[:, 0]), atol=1e-5, rtol=0)
    sum(values.square().sum() for values in maps.values()).backward()
    assert [name for name, parameter in backbone.named_parameters() if parameter.grad is None] == []


def test_an_unknown_norm_of_maps_names_the_key() -> None:
    settings = ("MODEL.TIMM.NAME", "resnet10t", "MODEL.TIMM.OUT_NORM", "BN")
    with pytest.raises(ValueError, match=r"MODEL.TIMM.OUT_NORM must be one of '', 'LN', not 'BN'"):
        pyramid(*settings, "MODEL.BACKBONE.NAME", "build_timm_backbone")
