"""From the configuration to the parts of the official model."""

from typing import Any

from detectron2.config import CfgNode

from inspose.branches import KeypointFeatures
from inspose.build import HEATMAP_PRIOR, keypoint_networks
from inspose.official.head import StarHead
from inspose.official.star import Steering, tap_indices
from inspose.official.trunk import PixelTrunk
from posecore.modeling.fcos.build import detector_parts, pyramid_channels


def model_parts(cfg: CfgNode) -> dict[str, Any]:
    """The arguments of ``InsPoseOfficial`` as the configuration has them."""
    fcos, node = cfg.MODEL.FCOS, cfg.MODEL.INSPOSE
    parts = detector_parts(cfg)
    backbone, skeleton = parts["backbone"], parts["skeleton"]
    in_channels, num_keypoints = pyramid_channels(cfg, backbone), skeleton.num_keypoints
    return parts | {
        "head": StarHead(
            in_channels=in_channels,
            channels=fcos.CHANNELS,
            keypoint_channels=node.OFFICIAL.KEYPOINT_CHANNELS,
            num_convs=fcos.NUM_CONVS,
            num_keypoints=num_keypoints,
            steering=Steering(tap_indices(skeleton, node.OFFICIAL.TAPS)),
            norm=fcos.NORM,
            prior_prob=fcos.PRIOR_PROB,
        ),
        "level": node.IN_FEATURE,
        "keypoint_features": KeypointFeatures(
            in_channels, node.CONVS_DIM, node.NUM_CONVS, node.CHANNELS, node.NORM, bias=False
        ),
        # The maps "controller" are a tower and as many steered channels.
        "keypoint_networks": keypoint_networks(cfg, 2 * fcos.CHANNELS, backbone, num_keypoints),
        "trunk": PixelTrunk(
            in_channels,
            node.OFFICIAL.TRUNK_CHANNELS,
            num_keypoints,
            norm=node.NORM,
            stride=backbone.output_shape()[node.IN_FEATURE].stride,
            prior_prob=HEATMAP_PRIOR,
        ),
        "shift": node.OFFICIAL.SHIFT,
    }
