"""Activation checkpointing of each kind of backbone: equal results, less memory."""

import copy
from typing import Any

import pytest
import torch
from detectron2.layers import ShapeSpec
from detectron2.modeling import BACKBONE_REGISTRY
from detectron2.utils import comm
from helpers.configs import override_list
from helpers.processes import in_processes
from helpers.support import core_cfg
from torch import Tensor, nn
from torch.nn.parallel import DistributedDataParallel

import posecore.modeling.backbones  # noqa: F401  (registers them)
from posecore.layers.checkpointing import checkpoint_blocks, find_blocks
from posecore.modeling.backbones.build import build_backbone

KEY = "MODEL.BACKBONE.ACTIVATION_CHECKPOINTING"
RESNET = {
    "MODEL.RESNETS.DEPTH": 18,
    "MODEL.RESNETS.RES2_OUT_CHANNELS": 64,
    "MODEL.RESNETS.NORM": "BN",
    "MODEL.RESNETS.OUT_FEATURES": ["res3", "res4", "res5"],
    "MODEL.FPN.IN_FEATURES": ["res3", "res4", "res5"],
    "MODEL.FPN.OUT_CHANNELS": 16,
}
BACKBONES: dict[str, tuple[str, dict[str, Any]]] = {
    "resnet": ("build_resnet_backbone", RESNET),
    "torchvision resnet": ("build_torchvision_resnet_backbone", RESNET | {"MODEL.RESNETS.RES5_DILATION": 1}),
    "resnet with a pyramid": ("build_fcos_resnet_fpn_backbone", RESNET),
    "dla": ("build_fcos_timm_fpn_backbone", {"MODEL.TIMM.NAME": "dla34", "MODEL.FPN.OUT_CHANNELS": 16}),
    "hrnet": ("build_timm_backbone", {"MODEL.TIMM.NAME": "hrnet_w18_small"}),
    "mobilenet": (
        "build_timm_backbone",
        {"MODEL.TIMM.NAME": "mobilenetv2_050", "MODEL.TIMM.HEAD_CONV": True},
    ),
    "mobilenet with SyncBN": (
        "build_timm_backbone",
        {"MODEL.TIMM.NAME": "mobilenetv2_050", "MODEL.TIMM.NORM": "SyncBN"},
    ),
    "hrformer": ("build_hrformer_backbone", {"MODEL.HRFORMER.SIZE": "T", "MODEL.HRFORMER.DROP_PATH": 0.3}),
}


def built(name: str, is_checkpointed: bool) -> nn.Module:
    builder, overrides = BACKBONES[name]
    torch.manual_seed(0)
    keys = override_list({"MODEL.BACKBONE.NAME": builder, **overrides, KEY: is_checkpointed})
    return build_backbone(core_cfg(*keys)).train()


def pass_through(backbone: nn.Module, image: Tensor) -> tuple[Tensor, int]:
    """A loss, with its gradients in the backbone, and the bytes that autograd keeps for them."""
    kept = 0

    def keep(tensor: Tensor) -> Tensor:
        nonlocal kept
        kept += tensor.nbytes
        return tensor

    torch.manual_seed(1)
    with torch.autograd.graph.saved_tensors_hooks(keep, lambda tensor: tensor):
        loss = sum(feature.square().mean() for feature in backbone(image).values())
    loss.backward()
    return loss.detach(), kept


@pytest.mark.parametrize("name", BACKBONES)
def test_checkpointing_changes_nothing_but_memory(name: str) -> None:
    plain, saving = built(name, False), built(name, True)
    assert plain.state_dict().keys() == saving.state_dict().keys()
    image = torch.rand(2, 3, 64, 96)
    for _ in range(2):  # the second pass reads running statistics that the first one has left
        loss, kept = pass_through(plain, image)
        own_loss, own_kept = pass_through(saving, image)
        assert torch.equal(own_loss, loss)
        assert own_kept < 0.6 * kept
    for (key, expected), parameter in zip(plain.named_parameters(), saving.parameters(), strict=True):
        assert (parameter.grad is None) == (expected.grad is None), key
        if expected.grad is not None:
            torch.testing.assert_close(parameter.grad, expected.grad, rtol=1e-6, atol=1e-7, msg=key)
    for (key, expected), buffer in zip(plain.named_buffers(), saving.buffers(), strict=True):
        assert torch.equal(buffer, expected), key
    with torch.no_grad():
        for key, feature in plain.eval()(image).items():
            assert torch.equal(saving.eval()(image)[key], feature)


def test_checkpointing_of_a_copy_runs_the_copy() -> None:
    """As moving averages of the weights need it."""
    original = built("resnet", True)
    other = copy.deepcopy(original)
    for parameter in other.parameters():
        parameter.data.zero_()
    image = torch.rand(1, 3, 64, 64)
    assert original(image)["res5"].abs().sum() > 0
    assert other(image)["res5"].abs().sum() == 0


def test_checkpointing_finds_the_residual_blocks() -> None:
    cfg = core_cfg("MODEL.RESNETS.DEPTH", 50)
    resnet = BACKBONE_REGISTRY.get("build_resnet_backbone")(cfg, ShapeSpec(channels=3))
    assert len(find_blocks(resnet)) == 3 + 4 + 6  # up to res4, which is the default


def test_checkpointing_of_a_network_without_blocks_is_an_error() -> None:
    with pytest.raises(ValueError, match="Sequential has no blocks of several layers"):
        checkpoint_blocks(nn.Sequential(nn.Conv2d(3, 4, 3), nn.ReLU()))


def gradients_in_process(is_checkpointed: bool) -> dict[str, Tensor]:
    backbone = built("resnet with a pyramid", is_checkpointed)
    wrapped = DistributedDataParallel(backbone)
    image = torch.rand(2, 3, 64, 64, generator=torch.Generator().manual_seed(comm.get_rank()))
    sum(feature.square().mean() for feature in wrapped(image).values()).backward()
    return {name: p.grad for name, p in backbone.named_parameters() if p.grad is not None}


def test_checkpointing_in_two_processes() -> None:
    plain, _ = in_processes(gradients_in_process, 2, False)
    first, second = in_processes(gradients_in_process, 2, True)
    for name, gradient in plain.items():
        torch.testing.assert_close(first[name], gradient, rtol=1e-5, atol=1e-7)
        assert torch.equal(first[name], second[name])
