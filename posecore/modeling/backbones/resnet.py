"""Detectron2's ResNets with torchvision's dilation, as in DETR and its descendants."""

from detectron2.config import CfgNode
from detectron2.layers import ShapeSpec
from detectron2.modeling import BACKBONE_REGISTRY
from detectron2.modeling.backbone import ResNet, build_resnet_backbone


@BACKBONE_REGISTRY.register()
def build_torchvision_resnet_backbone(cfg: CfgNode, input_shape: ShapeSpec) -> ResNet:
    """The ResNet of MODEL.RESNETS, without a pyramid.

    With MODEL.RESNETS.RES5_DILATION 2 ("DC5") the last stage keeps stride 16, and all its blocks but the
    first are dilated. Detectron2's own builder dilates the first one too, which does not fit weights of DETR
    and its descendants.
    """
    resnet = build_resnet_backbone(cfg, input_shape)
    if cfg.MODEL.RESNETS.RES5_DILATION > 1 and "res5" in cfg.MODEL.RESNETS.OUT_FEATURES:
        first = resnet.res5[0].conv2
        first.dilation = first.padding = (1, 1)
    return resnet
