import json

import pytest
import torch
import torch.nn.functional as F
from detectron2.modeling import build_backbone
from torch import nn

from posecore.config import get_cfg
from posecore.modeling.backbones.hrformer import SIZES, Fusion, HRFormer, Size, WindowAttention

TINY = Size(channels=(4, 8, 16, 32), heads=(1, 2, 4, 8), modules=(1, 2, 1))


def plain_attention(attention: WindowAttention, x: torch.Tensor) -> torch.Tensor:
    """One window after the other, one head after the other."""
    channels, height, width = x.shape[1:]
    side, heads = attention.window, attention.heads
    top, left = (-height % side) // 2, (-width % side) // 2
    padded = F.pad(x, (left, -width % side - left, top, -height % side - top))
    result = torch.empty_like(padded)
    for row in range(0, padded.shape[2], side):
        for column in range(0, padded.shape[3], side):
            cells = padded[:, :, row : row + side, column : column + side].flatten(2).mT
            q, k, v = attention.query(cells), attention.key(cells), attention.value(cells)
            parts = []
            for part in torch.arange(channels).split(channels // heads):
                scores = q[..., part] @ k[..., part].mT / len(part) ** 0.5
                parts.append(scores.softmax(dim=-1) @ v[..., part])
            cells = attention.out(torch.cat(parts, dim=-1)).mT.unflatten(2, (side, side))
            result[:, :, row : row + side, column : column + side] = cells
    return result[:, :, top : top + height, left : left + width]


@pytest.mark.parametrize(("height", "width"), [(7, 7), (14, 21), (16, 12), (1, 3)])
def test_attention_stays_within_windows(height: int, width: int) -> None:
    attention = WindowAttention(channels=6, heads=2, window=7)
    x = torch.randn(2, 6, height, width)
    torch.testing.assert_close(attention(x), plain_attention(attention, x))


def test_fusion_of_two_branches() -> None:
    fine, coarse = torch.randn(1, 4, 6, 4), torch.randn(1, 8, 3, 2)
    up, down = (Fusion((4, 8), target).eval() for target in (0, 1))
    larger = F.interpolate(up.paths[1](coarse), scale_factor=2, mode="bilinear", align_corners=False)
    torch.testing.assert_close(up([fine, coarse]), F.relu(fine + larger))
    torch.testing.assert_close(down([fine, coarse]), F.relu(down.paths[0](fine) + coarse))


@pytest.mark.parametrize(("height", "width"), [(64, 64), (50, 33)])
def test_every_weight_of_every_size_of_image_is_trained(height: int, width: int) -> None:
    backbone = HRFormer(TINY, drop_path=0.0)
    maps = backbone(torch.randn(2, 3, height, width))
    for (name, shape), feature in zip(backbone.output_shape().items(), maps.values(), strict=True):
        assert name == f"stride{shape.stride}"
        assert feature.shape == (2, shape.channels, -(-height // shape.stride), -(-width // shape.stride))
    sum(feature.sum() for feature in maps.values()).backward()
    assert [name for name, parameter in backbone.named_parameters() if parameter.grad is None] == []


def test_drop_path_rises_over_the_stages() -> None:
    backbone = HRFormer(TINY, drop_path=0.7)
    for branch in range(2):
        drops = [
            block.drop_path.drop_prob
            for stage in backbone.stages
            for module in stage
            for block in module.branches[branch]
        ]
        assert drops == pytest.approx([0.1 * index for index in range(8)])


@pytest.mark.parametrize("size", SIZES)
def test_parameters_are_those_of_the_official_models(shared, size: str) -> None:
    """Their models' counts, less what surrounds the backbone: it differs in the neck's convolutions alone."""
    rows = json.loads((shared / "oracles/poseur/flops.json").read_text())["rows"]
    manifest = json.loads((shared / "oracles/poseur/manifest_hrformer_tiny.json").read_text())["state"]
    around = sum(
        torch.Size(row["shape"]).numel()
        for row in manifest
        if row["kind"] == "parameter" and not row["name"].startswith("backbone.")
    )
    per_layer = rows["res50_4dec"]["params_M"] - rows["res50_3dec"]["params_M"]
    model = {"T": "hrformer_tiny_3dec", "S": "hrformer_small_3dec", "B": "hrformer_big_6dec"}[size]
    more_neck = 256 * (sum(SIZES[size].channels) - sum(SIZES["T"].channels))
    rest = around + more_neck + 1e6 * per_layer * (rows[model]["layers"] - 3)
    with torch.device("meta"):
        backbone = HRFormer(SIZES[size])
    count = sum(parameter.numel() for parameter in backbone.parameters())
    assert count + rest == pytest.approx(1e6 * rows[model]["params_M"], abs=0.6)


def test_configuration() -> None:
    cfg = get_cfg()
    cfg.merge_from_list(["MODEL.BACKBONE.NAME", "build_hrformer_backbone"])
    settings = ["MODEL.HRFORMER.SIZE", "T", "MODEL.HRFORMER.NORM", "SyncBN", "MODEL.HRFORMER.DROP_PATH", 0.2]
    cfg.merge_from_list(settings)
    backbone = build_backbone(cfg)
    assert [shape.channels for shape in backbone.output_shape().values()] == [18, 36, 72, 144]
    assert any(isinstance(module, nn.SyncBatchNorm) for module in backbone.modules())
    assert backbone.stages[-1][-1].branches[0][-1].drop_path.drop_prob == pytest.approx(0.2)
    for key, value in (("SIZE", "XL"), ("NORM", "GN")):
        wrong = cfg.clone()
        wrong.merge_from_list([f"MODEL.HRFORMER.{key}", value])
        with pytest.raises(ValueError, match=f"MODEL.HRFORMER.{key} must be one of .*not '{value}'"):
            build_backbone(wrong)
