"""Builds the model of a configuration: :func:`build_model`, Detectron2's with errors that name the key."""

import difflib

import detectron2.modeling
from detectron2.config import CfgNode
from detectron2.modeling import BACKBONE_REGISTRY, META_ARCH_REGISTRY
from torch import nn

from posecore.config.device import check_device, find_device


def build_model(cfg: CfgNode) -> nn.Module:
    """The model of MODEL.META_ARCHITECTURE on MODEL.DEVICE, as ``detectron2.modeling.build_model`` has it.

    Raises:
        ValueError: MODEL.META_ARCHITECTURE or MODEL.BACKBONE.NAME is not registered, or MODEL.DEVICE is not
            there.
    """
    device = find_device(cfg.MODEL.DEVICE)
    check_device(device)
    for key, name, registry in (
        ("MODEL.META_ARCHITECTURE", cfg.MODEL.META_ARCHITECTURE, META_ARCH_REGISTRY),
        ("MODEL.BACKBONE.NAME", cfg.MODEL.BACKBONE.NAME, BACKBONE_REGISTRY),
    ):
        if name not in registry:
            known = [other for other, _ in registry]
            near = difflib.get_close_matches(name, known, n=3)
            raise ValueError(
                f"{key} {name!r} is not known: it must be one of {', '.join(near or sorted(known))}"
            )
    cfg = cfg.clone()
    cfg.defrost()
    cfg.MODEL.DEVICE = device  # "auto" may have been assigned instead of merged
    cfg.freeze()
    return detectron2.modeling.build_model(cfg)
