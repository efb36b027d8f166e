"""Backbones and feature pyramids by name; importing this package registers them with Detectron2."""

from posecore.modeling.backbones.hrformer import HRFormer, build_hrformer_backbone
from posecore.modeling.backbones.resnet import build_torchvision_resnet_backbone
from posecore.modeling.backbones.resnet_fpn import build_fcos_resnet_fpn_backbone
from posecore.modeling.backbones.timm import TimmBackbone, build_fcos_timm_fpn_backbone, build_timm_backbone

__all__ = [
    "HRFormer",
    "TimmBackbone",
    "build_fcos_resnet_fpn_backbone",
    "build_fcos_timm_fpn_backbone",
    "build_hrformer_backbone",
    "build_timm_backbone",
    "build_torchvision_resnet_backbone",
]
