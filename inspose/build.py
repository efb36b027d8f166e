"""From the configuration to the parts of the model; nothing else of the method reads a key."""

from typing import Any

from detectron2.config import CfgNode
from detectron2.modeling import Backbone
from torch import nn

from inspose.branches import DiskOffsets, KeypointFeatures
from posecore.config.options import choice
from posecore.layers.heatmap_branch import HeatmapBranch
from posecore.modeling.fcos.build import (
    box_predictor,
    detector_parts,
    person_classifier,
    pyramid_channels,
    tower,
)
from posecore.modeling.fcos.head import FCOSHead
from posecore.modeling.keypoint_network import KeypointNetworks

# Side of the convolution that generates KP-Nets.
CONTROLLER_KERNEL = 3
# One unit of the relative coordinates, in cells of the location's level.
RANGE = 8
# What the sigmoid of the auxiliary heatmaps starts at.
HEATMAP_PRIOR = 0.1


def model_parts(cfg: CfgNode) -> dict[str, Any]:
    """The arguments of ``InsPose`` as the configuration has them."""
    node = cfg.MODEL.INSPOSE
    parts = detector_parts(cfg)
    backbone, num_keypoints = parts["backbone"], parts["skeleton"].num_keypoints
    in_channels = pyramid_channels(cfg, backbone)
    stride = backbone.output_shape()[node.IN_FEATURE].stride
    return parts | {
        "head": _head(cfg, in_channels),
        "level": node.IN_FEATURE,
        "keypoint_features": KeypointFeatures(
            in_channels, node.CONVS_DIM, node.NUM_CONVS, node.CHANNELS, node.NORM
        ),
        "keypoint_networks": keypoint_networks(
            cfg,
            cfg.MODEL.FCOS.CHANNELS,
            backbone,
            num_keypoints,
            resize=_resize(cfg, stride),
            heatmap_stride=node.STRIDE,
        ),
        "disk_offsets": _disk_offsets(cfg, in_channels, num_keypoints, stride),
        "disk_radius": node.DISK_RADIUS,
        "heatmap": _heatmap(cfg, in_channels, num_keypoints),
    }


def keypoint_networks(
    cfg: CfgNode, channels: int, backbone: Backbone, num_keypoints: int, **resized: Any
) -> KeypointNetworks:
    """The KP-Nets, generated from a tower of so many channels."""
    node, shapes = cfg.MODEL.INSPOSE, backbone.output_shape()
    return KeypointNetworks(
        channels,
        (node.CHANNELS, *[node.WIDTH] * (node.DEPTH - 1), num_keypoints),
        kernel_size=CONTROLLER_KERNEL,
        ranges=[RANGE * shapes[name].stride for name in cfg.MODEL.FCOS.IN_FEATURES],
        stride=shapes[node.IN_FEATURE].stride,
        **resized,
    )


def _head(cfg: CfgNode, in_channels: int) -> FCOSHead:
    predictors = {"cls": person_classifier(cfg, "cls")}
    if cfg.MODEL.INSPOSE.BOXES:
        predictors["ltrb"] = box_predictor(cfg, "controller")
    return FCOSHead({name: tower(cfg, in_channels) for name in ("cls", "controller")}, predictors)


def _resize(cfg: CfgNode, stride: int) -> nn.Module:
    """From maps at the level's stride to those at MODEL.INSPOSE.STRIDE."""
    strides = (2 * stride, stride, stride // 2, stride // 4)
    factor = choice(cfg, "MODEL.INSPOSE.STRIDE", {other: stride / other for other in strides})
    if factor == 1:
        return nn.Identity()
    return nn.Upsample(scale_factor=factor, mode="bilinear", align_corners=False)


def _disk_offsets(cfg: CfgNode, in_channels: int, num_keypoints: int, stride: int) -> DiskOffsets | None:
    node = cfg.MODEL.INSPOSE
    if not node.DISK_OFFSET:
        return None
    return DiskOffsets(
        in_channels,
        node.DISK_CHANNELS,
        num_keypoints,
        norm=node.NORM,
        resize=_resize(cfg, stride),
        stride=node.STRIDE,
    )


def _heatmap(cfg: CfgNode, in_channels: int, num_keypoints: int) -> HeatmapBranch | None:
    node = cfg.MODEL.INSPOSE
    if not node.HEATMAP:
        return None
    return HeatmapBranch(
        node.IN_FEATURE,
        in_channels,
        node.HEATMAP_CHANNELS,
        num_keypoints,
        norm=node.NORM,
        prior_prob=HEATMAP_PRIOR,
    )
