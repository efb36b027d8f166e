"""The official backbones' maps, on weights under the official names."""

import json
from pathlib import Path

import pytest
import torch
from detectron2.modeling import build_backbone
from helpers.configs import override_list
from helpers.oracles import arrays, load_fill
from torch import Tensor, nn

from posecore.checkpoint.backbone_names import convert_backbone
from posecore.config import get_cfg

RESNET = override_list(
    {
        "MODEL.BACKBONE.NAME": "build_resnet_backbone",
        "MODEL.BACKBONE.FREEZE_AT": 0,
        "MODEL.RESNETS.OUT_FEATURES": ["res2", "res3", "res4", "res5"],
        "MODEL.RESNETS.NORM": "SyncBN",
        "MODEL.RESNETS.STRIDE_IN_1X1": False,
    }
)

TIMM = ("MODEL.BACKBONE.NAME", "build_timm_backbone", "MODEL.TIMM.NORM", "SyncBN")
HRNET = (*TIMM, "MODEL.TIMM.NAME", "hrnet_w32", "MODEL.TIMM.STRIDES", (4, 8, 16, 32))
MOBILENET = (
    *TIMM,
    *override_list(
        {
            "MODEL.TIMM.NAME": "mobilenetv2_100",
            "MODEL.TIMM.STRIDES": (4, 8, 16, 32),
            "MODEL.TIMM.HEAD_CONV": True,
        }
    ),
)
HRFORMER = override_list(
    {
        "MODEL.BACKBONE.NAME": "build_hrformer_backbone",
        "MODEL.HRFORMER.SIZE": "T",
        "MODEL.HRFORMER.NORM": "SyncBN",
    }
)


def build(*settings: object) -> nn.Module:
    cfg = get_cfg()
    cfg.merge_from_list(list(settings))
    return build_backbone(cfg).eval()


def official(shared: Path, manifest: str) -> dict[str, Tensor]:
    """An official backbone's state dict with filled values, without the prefix of its names."""
    fill = load_fill(shared)
    rows = json.loads((shared / f"oracles/poseur/manifest_{manifest}.json").read_text())["state"]
    return {
        row["name"].removeprefix("backbone."): torch.from_numpy(
            fill.parameter(row["name"], row["shape"], row["dtype"])
        )
        for row in rows
        if row["name"].startswith("backbone.")
    }


@pytest.mark.parametrize(
    ("case", "manifest", "settings"),
    [
        ("case_a", "res50", RESNET),
        ("case_hrnet_w32", "hrnet_w32", HRNET),
        ("case_hrformer_tiny", "hrformer_tiny", HRFORMER),
    ],
)
def test_maps_are_those_of_the_official_code(shared, case: str, manifest: str, settings: tuple) -> None:
    backbone = build(*settings)
    backbone.load_state_dict(convert_backbone(official(shared, manifest)))
    about = json.loads((shared / f"oracles/poseur/{case}/case.json").read_text())
    golden = arrays(shared / f"oracles/poseur/{case}/outputs.npz")
    image = torch.from_numpy(load_fill(shared).normal(about["image"]["name"], about["image"]["shape"]))
    with torch.no_grad():
        maps = list(backbone(image).values())
    assert len(maps) == 4
    for level, actual in enumerate(maps):
        height, width = actual.shape[2:]
        parts = {
            "mean": actual.mean(dim=(2, 3)),
            "std": actual.std(dim=(2, 3), correction=0),
            "corner": actual[:, :8, :3, :3],
            "center": actual[:, :8, height // 2 : height // 2 + 2, width // 2 : width // 2 + 2],
        }
        # HRNet's filled weights make maps up to 5,000, whose rounding in float32 is more than the stated
        # tolerance where a number happens to be small: float64 deviates there as well.
        rounding = 1e-6 * actual.abs().max().item()
        for part, value in parts.items():
            name = f"backbone.{level}.{part}".replace("center", "centre")  # the file's spelling
            torch.testing.assert_close(
                value,
                golden[name],
                rtol=2e-5,
                atol=max(about["arrays"][name]["atol"], rounding),
                msg=lambda text, name=name: f"{name}: {text}",
            )


def test_mobilenet_has_the_official_tensors(shared) -> None:
    backbone = build(*MOBILENET)
    state = official(shared, "mobilenetv2")
    backbone.load_state_dict(convert_backbone(state))
    assert torch.equal(backbone.body.conv_head.weight, state["conv2.conv.weight"])
    assert torch.equal(backbone.body.blocks[0][0].conv_dw.weight, state["layer1.0.conv.0.conv.weight"])
    shapes = backbone.output_shape().values()
    assert [(shape.stride, shape.channels) for shape in shapes] == [(4, 24), (8, 32), (16, 96), (32, 1280)]


def test_unknown_names_are_errors() -> None:
    with pytest.raises(ValueError, match="no official Poseur backbone"):
        convert_backbone({"blocks.0.weight": torch.zeros(1)})
    with pytest.raises(ValueError, match=r"no ResNet of Poseur has.*layer5"):
        convert_backbone({"layer1.0.conv1.weight": torch.zeros(1), "layer5.weight": torch.zeros(1)})
