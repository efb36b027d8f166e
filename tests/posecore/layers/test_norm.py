"""Constant BatchNorms compute the same with and without gradients, and with their activation."""

import pytest
import torch
from timm.layers import BatchNormAct2d
from torch import nn
from torch.testing import assert_close

from posecore.layers import norm as norms
from posecore.layers.norm import convert_batch_norms


@pytest.mark.parametrize("layer", [nn.BatchNorm2d, BatchNormAct2d], ids=["plain", "activation"])
def test_frozen_norms(layer, monkeypatch):
    torch.manual_seed(0)
    trained = layer(5)
    trained.weight.data.normal_()
    trained.bias.data.normal_()
    images = 3 * torch.randn(4, 5, 6, 7) + 1
    for _ in range(3):
        trained(images)
    expected = trained.eval()(images)
    frozen = convert_batch_norms(nn.Sequential(trained), "FrozenBN")
    assert not list(frozen.parameters())

    learned = images.clone().requires_grad_()
    result = frozen(learned)
    assert_close(result, expected)
    result.square().sum().backward()
    assert learned.grad is not None

    passes = []
    monkeypatch.setattr(
        norms, "_normalize", lambda *arguments, f=norms._normalize: passes.append(1) or f(*arguments)
    )
    assert_close(frozen(images), expected)
    assert len(passes) == 1  # a map that needs no gradient is read and written once
