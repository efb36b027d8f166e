"""Models from configurations whose names or devices are wrong, and from raw ones."""

import pytest
import torch
from helpers import toy_model  # noqa: F401  (registers ToyPose)

from posecore.config import get_cfg
from posecore.modeling.build import build_model


def test_names_that_nobody_registered_are_named_with_their_keys() -> None:
    cfg = get_cfg()
    cfg.MODEL.META_ARCHITECTURE = "DirectPoze"
    with pytest.raises(ValueError, match=r"MODEL\.META_ARCHITECTURE 'DirectPoze' is not known.* DirectPose"):
        build_model(cfg)
    cfg.MODEL.META_ARCHITECTURE = "DirectPose"
    cfg.MODEL.BACKBONE.NAME = "build_resnet_backbones"
    with pytest.raises(ValueError, match=r"MODEL\.BACKBONE\.NAME 'build_resnet_backbones' is not known"):
        build_model(cfg)


def test_auto_in_a_raw_configuration(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    cfg = get_cfg()
    cfg.MODEL.META_ARCHITECTURE, cfg.MODEL.DEVICE = "ToyPose", "auto"
    cfg.freeze()
    assert next(build_model(cfg).parameters()).device.type == "cpu"
    assert cfg.MODEL.DEVICE == "auto"  # inputs stay as they are


def test_a_gpu_that_is_not_there(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    cfg = get_cfg()
    cfg.MODEL.META_ARCHITECTURE, cfg.MODEL.DEVICE = "ToyPose", "cuda"
    with pytest.raises(ValueError, match=r"MODEL\.DEVICE is 'cuda', but torch finds no GPU"):
        build_model(cfg)
