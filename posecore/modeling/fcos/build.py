"""From the configuration to the parts that every model on this detector has."""

from typing import Any

from detectron2.config import CfgNode
from detectron2.modeling import Backbone, build_backbone
from torch import nn

from posecore.layers.tower import Tower, init_conv
from posecore.modeling import backbones as _backbones  # noqa: F401  (registers the pyramids)
from posecore.modeling.fcos.head import Predictor, classifier_conv
from posecore.modeling.fcos.settings import Decoding, Training
from posecore.structures.skeleton import load_skeleton


def detector_parts(cfg: CfgNode) -> dict[str, Any]:
    """The arguments of ``FCOSEstimator``, all but the head."""
    return {
        "backbone": build_backbone(cfg),
        "in_features": list(cfg.MODEL.FCOS.IN_FEATURES),
        "skeleton": load_skeleton(cfg.DATASETS.SKELETON),
        "training": Training.from_config(cfg),
        "decoding": Decoding.from_config(cfg),
        "pixel_mean": tuple(cfg.MODEL.PIXEL_MEAN),
        "pixel_std": tuple(cfg.MODEL.PIXEL_STD),
    }


def pyramid_channels(cfg: CfgNode, backbone: Backbone) -> int:
    """Channels of the levels that the head reads, the same for all."""
    return backbone.output_shape()[cfg.MODEL.FCOS.IN_FEATURES[0]].channels


def tower(cfg: CfgNode, in_channels: int) -> Tower:
    """A tower of MODEL.FCOS.NUM_CONVS, CHANNELS and NORM."""
    fcos = cfg.MODEL.FCOS
    return Tower(in_channels, fcos.CHANNELS, fcos.NUM_CONVS, fcos.NORM)


def person_classifier(cfg: CfgNode, on: str) -> Predictor:
    """The person logit, on the tower of that name."""
    return Predictor(on, classifier_conv(cfg.MODEL.FCOS.CHANNELS, cfg.MODEL.FCOS.PRIOR_PROB))


def centerness_predictor(cfg: CfgNode, on: str) -> Predictor:
    """The centerness logit, on the tower of that name."""
    return Predictor(on, init_conv(nn.Conv2d(cfg.MODEL.FCOS.CHANNELS, 1, 3, padding=1)))


def box_predictor(cfg: CfgNode, on: str) -> Predictor:
    """Distances to the four sides in cells, before a ReLU, times a learned factor per level."""
    conv = init_conv(nn.Conv2d(cfg.MODEL.FCOS.CHANNELS, 4, 3, padding=1))
    return Predictor(on, conv, num_levels=len(cfg.MODEL.FCOS.IN_FEATURES))
