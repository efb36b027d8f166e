"""From the configuration to the parts of the model; nothing else of the method reads a key."""

from typing import Any

from detectron2.config import CfgNode
from torch import nn

from directpose.kpalign import SAMPLE_FROM, KPAlign
from directpose.naive import NaiveKeypoints
from posecore.config.options import choice
from posecore.layers.heatmap_branch import HeatmapBranch
from posecore.layers.tower import Tower
from posecore.modeling.fcos.build import (
    box_predictor,
    centerness_predictor,
    detector_parts,
    person_classifier,
    pyramid_channels,
    tower,
)
from posecore.modeling.fcos.head import FCOSHead
from posecore.structures.skeleton import Skeleton


def model_parts(cfg: CfgNode) -> dict[str, Any]:
    """The arguments of ``DirectPose`` as the configuration has them."""
    node = cfg.MODEL.DIRECTPOSE
    parts = detector_parts(cfg)
    in_channels = pyramid_channels(cfg, parts["backbone"])
    keypoint_tower, keypoints = _keypoint_branch(cfg, parts["skeleton"], in_channels)
    return parts | {
        "head": _head(cfg, in_channels, keypoint_tower),
        "keypoints": keypoints,
        "heatmap": _heatmap(cfg, parts["skeleton"], in_channels),
        "heatmap_one_per_cell": choice(
            cfg, "MODEL.DIRECTPOSE.HEATMAP_LABELS", {"per_type": False, "one_per_cell": True}
        ),
        "heatmap_weight": node.HEATMAP_WEIGHT,
        "smooth_keypoints": choice(cfg, "MODEL.DIRECTPOSE.KEYPOINT_LOSS", {"l1": False, "smooth_l1": True}),
        "box_scales_keypoints": node.BOX_SCALES_KEYPOINTS,
    }


def _keypoint_branch(cfg: CfgNode, skeleton: Skeleton, in_channels: int) -> tuple[Tower, nn.Module]:
    """The keypoint tower and what regresses keypoints from it."""
    fcos, node = cfg.MODEL.FCOS, cfg.MODEL.DIRECTPOSE
    if choice(cfg, "MODEL.DIRECTPOSE.HEAD", {"kpalign": False, "naive": True}):
        return tower(cfg, in_channels), NaiveKeypoints(fcos.CHANNELS, skeleton.num_keypoints)
    each_its_own = tuple((keypoint,) for keypoint in range(skeleton.num_keypoints))
    groups = choice(
        cfg, "MODEL.DIRECTPOSE.GROUPS", {"skeleton": skeleton.group_indices, "keypoints": each_its_own}
    )
    separate = node.SEPARATE_FEATURES
    channels = node.GROUP_CHANNELS * len(groups) if separate else fcos.CHANNELS
    tower_groups = len(groups) if separate else 1
    keypoint_tower = Tower(in_channels, channels, fcos.NUM_CONVS, fcos.NORM, groups=tower_groups)
    kpalign = KPAlign(
        channels=channels,
        groups=groups,
        separate=separate,
        sample_from=choice(cfg, "MODEL.DIRECTPOSE.SAMPLE_FROM", SAMPLE_FROM),
        aligner=node.ALIGNER,
        norm=fcos.NORM,
    )
    return keypoint_tower, kpalign


def _head(cfg: CfgNode, in_channels: int, keypoint_tower: Tower) -> FCOSHead:
    towers: dict[str, nn.Module] = {"cls": tower(cfg, in_channels), "keypoint": keypoint_tower}
    predictors = {"cls": person_classifier(cfg, "cls"), "centerness": centerness_predictor(cfg, "cls")}
    if cfg.MODEL.DIRECTPOSE.BOX_BRANCH:
        towers["box"] = tower(cfg, in_channels)
        predictors["ltrb"] = box_predictor(cfg, "box")
    return FCOSHead(towers, predictors)


def _heatmap(cfg: CfgNode, skeleton: Skeleton, in_channels: int) -> HeatmapBranch | None:
    node = cfg.MODEL.DIRECTPOSE
    if not node.HEATMAP_LEVEL:
        return None
    return HeatmapBranch(
        node.HEATMAP_LEVEL,
        in_channels,
        node.HEATMAP_CHANNELS,
        skeleton.num_keypoints,
        norm=node.HEATMAP_NORM,
        prior_prob=cfg.MODEL.FCOS.PRIOR_PROB,
    )
