"""ResNets without a pyramid compute what torchvision's do, dilated ones too."""

import pytest
import torch
import torchvision
from detectron2.layers import ShapeSpec
from detectron2.modeling import BACKBONE_REGISTRY
from helpers.configs import override_list
from helpers.support import core_cfg
from torch.testing import assert_close

import posecore.modeling.backbones  # noqa: F401  (registers them)
from posecore.checkpoint.weights import torchvision_name


@pytest.mark.parametrize("dilation", [1, 2])
@torch.no_grad()
def test_as_in_torchvision(dilation: int) -> None:
    theirs = torchvision.models.resnet50(replace_stride_with_dilation=[False, False, dilation == 2]).eval()
    cfg = core_cfg(
        *override_list(
            {
                "MODEL.RESNETS.DEPTH": 50,
                "MODEL.RESNETS.STRIDE_IN_1X1": False,
                "MODEL.RESNETS.OUT_FEATURES": ["res5"],
                "MODEL.RESNETS.RES5_DILATION": dilation,
            }
        ),
    )
    build = BACKBONE_REGISTRY.get("build_torchvision_resnet_backbone")
    ours = build(cfg, ShapeSpec(channels=3)).eval()
    weights = {torchvision_name(name): weight for name, weight in theirs.state_dict().items()}
    missing = ours.load_state_dict(weights, strict=False).missing_keys
    assert not missing
    assert ours.output_shape()["res5"] == ShapeSpec(channels=2048, stride=32 // dilation)
    image = torch.randn(1, 3, 75, 93)
    expected = torch.nn.Sequential(*list(theirs.children())[:-2])(image)
    assert_close(ours(image)["res5"], expected, rtol=1e-4, atol=1e-4)


def test_a_dilated_stage_that_nobody_reads_is_not_there() -> None:
    cfg = core_cfg("MODEL.RESNETS.OUT_FEATURES", ["res4"], "MODEL.RESNETS.RES5_DILATION", 2)
    model = BACKBONE_REGISTRY.get("build_torchvision_resnet_backbone")(cfg, ShapeSpec(channels=3))
    assert list(model.output_shape()) == ["res4"]
