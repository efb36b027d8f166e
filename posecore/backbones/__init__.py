"""Feature pyramids by name; importing this package registers them with Detectron2."""

from posecore.backbones.resnet_fpn import build_fcos_resnet_fpn_backbone
from posecore.backbones.timm import TimmBackbone, build_fcos_timm_fpn_backbone

__all__ = ["TimmBackbone", "build_fcos_resnet_fpn_backbone", "build_fcos_timm_fpn_backbone"]
