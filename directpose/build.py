"""From the configuration to the parts of the model; nothing else of the method reads a key."""

from typing import Any

from detectron2.config import CfgNode
from detectron2.modeling import build_backbone
from torch import nn

from directpose.heatmap import HeatmapBranch
from directpose.how import Decoding, Training
from directpose.kpalign import SAMPLE_FROM, KPAlign
from directpose.naive import NaiveKeypoints
from posecore import backbones as _backbones  # noqa: F401  (registers the pyramids)
from posecore.config import choice
from posecore.fcos.head import FCOSHead, Predictor, classifier_conv
from posecore.keypoints import Skeleton, load_skeleton
from posecore.layers.tower import Tower, init_conv


def model_parts(cfg: CfgNode) -> dict[str, Any]:
    """The arguments of ``DirectPose`` as the configuration has them."""
    fcos, node = cfg.MODEL.FCOS, cfg.MODEL.DIRECTPOSE
    skeleton = load_skeleton(cfg.DATASETS.SKELETON)
    backbone = build_backbone(cfg)
    in_channels = backbone.output_shape()[fcos.IN_FEATURES[0]].channels
    keypoint_tower, keypoints = _keypoint_branch(cfg, skeleton, in_channels)
    return {
        "backbone": backbone,
        "in_features": list(fcos.IN_FEATURES),
        "skeleton": skeleton,
        "head": _head(cfg, in_channels, keypoint_tower),
        "keypoints": keypoints,
        "heatmap": _heatmap(cfg, skeleton, in_channels),
        "box_scales_keypoints": node.BOX_SCALES_KEYPOINTS,
        "training": Training(
            center_radius=fcos.CENTER_RADIUS,
            size_ranges=tuple(fcos.SIZE_RANGES),
            count_images=choice(
                cfg, "MODEL.FCOS.CLS_DIVISOR", {"positives": False, "positives_and_images": True}
            ),
            focal_alpha=fcos.FOCAL_ALPHA,
            focal_gamma=fcos.FOCAL_GAMMA,
            smooth_keypoints=choice(cfg, "MODEL.DIRECTPOSE.KEYPOINT_LOSS", {"l1": False, "smooth_l1": True}),
            giou_smoothing=fcos.GIOU_SMOOTHING,
            heatmap_one_per_cell=choice(
                cfg, "MODEL.DIRECTPOSE.HEATMAP_LABELS", {"per_type": False, "one_per_cell": True}
            ),
            heatmap_weight=node.HEATMAP_WEIGHT,
        ),
        "decoding": Decoding(
            score_thresh=fcos.SCORE_THRESH,
            topk_per_level=fcos.TOPK_PER_LEVEL,
            nms_thresh=fcos.NMS_THRESH,
            limit=cfg.TEST.DETECTIONS_PER_IMAGE,
        ),
        "pixel_mean": tuple(cfg.MODEL.PIXEL_MEAN),
        "pixel_std": tuple(cfg.MODEL.PIXEL_STD),
    }


def _keypoint_branch(cfg: CfgNode, skeleton: Skeleton, in_channels: int) -> tuple[Tower, nn.Module]:
    """The keypoint tower and what regresses keypoints from it."""
    fcos, node = cfg.MODEL.FCOS, cfg.MODEL.DIRECTPOSE
    if choice(cfg, "MODEL.DIRECTPOSE.HEAD", {"kpalign": False, "naive": True}):
        tower = Tower(in_channels, fcos.CHANNELS, fcos.NUM_CONVS, fcos.NORM)
        return tower, NaiveKeypoints(fcos.CHANNELS, skeleton.num_keypoints)
    each_its_own = tuple((keypoint,) for keypoint in range(skeleton.num_keypoints))
    groups = choice(
        cfg, "MODEL.DIRECTPOSE.GROUPS", {"skeleton": skeleton.group_indices, "keypoints": each_its_own}
    )
    separate = node.SEPARATE_FEATURES
    channels = node.GROUP_CHANNELS * len(groups) if separate else fcos.CHANNELS
    tower_groups = len(groups) if separate else 1
    tower = Tower(in_channels, channels, fcos.NUM_CONVS, fcos.NORM, groups=tower_groups)
    kpalign = KPAlign(
        channels=channels,
        groups=groups,
        separate=separate,
        sample_from=choice(cfg, "MODEL.DIRECTPOSE.SAMPLE_FROM", SAMPLE_FROM),
        aligner=node.ALIGNER,
        norm=fcos.NORM,
    )
    return tower, kpalign


def _head(cfg: CfgNode, in_channels: int, keypoint_tower: Tower) -> FCOSHead:
    fcos = cfg.MODEL.FCOS
    towers: dict[str, nn.Module] = {
        "cls": Tower(in_channels, fcos.CHANNELS, fcos.NUM_CONVS, fcos.NORM),
        "keypoint": keypoint_tower,
    }
    predictors = {
        "cls": Predictor("cls", classifier_conv(fcos.CHANNELS, fcos.PRIOR_PROB)),
        "centerness": Predictor("cls", init_conv(nn.Conv2d(fcos.CHANNELS, 1, 3, padding=1))),
    }
    if cfg.MODEL.DIRECTPOSE.BOX_BRANCH:
        towers["box"] = Tower(in_channels, fcos.CHANNELS, fcos.NUM_CONVS, fcos.NORM)
        ltrb = init_conv(nn.Conv2d(fcos.CHANNELS, 4, 3, padding=1))
        predictors["ltrb"] = Predictor("box", ltrb, num_levels=len(fcos.IN_FEATURES))
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
