"""Detectron2's ResNets under the pyramid P3-P7 of FCOS."""

from detectron2.config import CfgNode
from detectron2.layers import ShapeSpec
from detectron2.modeling import BACKBONE_REGISTRY
from detectron2.modeling.backbone import FPN, build_resnet_backbone

from posecore.modeling.backbones.pyramid import build_pyramid


@BACKBONE_REGISTRY.register()
def build_fcos_resnet_fpn_backbone(cfg: CfgNode, input_shape: ShapeSpec) -> FPN:
    """ResNet (MODEL.RESNETS.DEPTH 18 to 152) and FPN; P6 comes from P5, not from C5 as in RetinaNet."""
    return build_pyramid(cfg, build_resnet_backbone(cfg, input_shape), list(cfg.MODEL.FPN.IN_FEATURES))
