"""Builds the backbone of a configuration, with activation checkpointing if asked: :func:`build_backbone`."""

import detectron2.modeling
from detectron2.config import CfgNode
from detectron2.modeling import Backbone
from torch import nn

from posecore.layers.checkpointing import checkpoint_blocks


def build_backbone(cfg: CfgNode) -> Backbone:
    """The backbone of MODEL.BACKBONE.NAME, with MODEL.BACKBONE.ACTIVATION_CHECKPOINTING.

    Raises:
        ValueError: activations are to be checkpointed, and the backbone has no blocks.
    """
    backbone = detectron2.modeling.build_backbone(cfg)
    apply_checkpointing(cfg, backbone)
    return backbone


def apply_checkpointing(cfg: CfgNode, backbone: nn.Module) -> None:
    """Checkpoints the blocks of a backbone if MODEL.BACKBONE.ACTIVATION_CHECKPOINTING says so; in place."""
    if cfg.MODEL.BACKBONE.ACTIVATION_CHECKPOINTING:
        network = getattr(backbone, "bottom_up", backbone)  # below a pyramid
        checkpoint_blocks(getattr(network, "body", network))  # in a TimmBackbone
