"""From the configuration to the parts of the model; nothing else of the method reads a key."""

from typing import Any

from detectron2.config import CfgNode
from detectron2.modeling import build_backbone
from torch import nn

from fcpose.auxiliary import AuxiliaryHeatmaps
from fcpose.basis import Basis, FinestOffsets, NoOffsets, TowerOffsets
from fcpose.how import Decoding, Training
from fcpose.keypoint_head import KeypointHead
from fcpose.losses import (
    KeypointLoss,
    cell_cross_entropy,
    expected_distance,
    squared_offset_error,
    upsampled_cross_entropy,
)
from posecore import backbones as _backbones  # noqa: F401  (registers the pyramids)
from posecore.config import choice
from posecore.fcos.head import FCOSHead, Predictor, classifier_conv
from posecore.keypoints import load_skeleton
from posecore.layers.tower import Tower, init_conv

# How many times larger a deconvolution makes the heatmaps (Table 4): from 1/8 of the picture to 1/2.
DECONVOLUTION = 4


def model_parts(cfg: CfgNode) -> dict[str, Any]:
    """The arguments of ``FCPose`` as the configuration has them."""
    fcos, node = cfg.MODEL.FCOS, cfg.MODEL.FCPOSE
    skeleton = load_skeleton(cfg.DATASETS.SKELETON)
    backbone = build_backbone(cfg)
    shapes = backbone.output_shape()
    in_channels = shapes[fcos.IN_FEATURES[0]].channels
    stride = shapes[node.IN_FEATURES[0]].stride
    return {
        "backbone": backbone,
        "in_features": list(fcos.IN_FEATURES),
        "basis_features": list(node.IN_FEATURES),
        "skeleton": skeleton,
        "head": _head(cfg, in_channels),
        "basis": Basis(in_channels, node.CONVS_DIM, len(node.IN_FEATURES), node.NUM_CONVS, node.NORM),
        "bases": nn.Conv2d(node.CONVS_DIM, node.CHANNELS, 1),
        "offsets": _offsets(cfg, in_channels, skeleton.num_keypoints, stride),
        "keypoint_head": KeypointHead(
            fcos.CHANNELS,
            (node.CHANNELS, *[node.WIDTH] * (node.DEPTH - 1), skeleton.num_keypoints),
            kernel_size=node.CONTROLLER_KERNEL,
            # The last level's persons have no largest size but that of the picture.
            ranges=(*fcos.SIZE_RANGES, cfg.INPUT.MAX_SIZE_TRAIN),
            stride=stride,
            factor=DECONVOLUTION if node.REFINEMENT == "deconvolution" else 1,
        ),
        "auxiliary": (
            AuxiliaryHeatmaps(node.CONVS_DIM, skeleton.num_keypoints, node.NORM) if node.AUXILIARY else None
        ),
        "keypoint_losses": _keypoint_losses(cfg),
        "training": Training(
            center_radius=fcos.CENTER_RADIUS,
            size_ranges=tuple(fcos.SIZE_RANGES),
            count_images=choice(
                cfg, "MODEL.FCOS.CLS_DIVISOR", {"positives": False, "positives_and_images": True}
            ),
            focal_alpha=fcos.FOCAL_ALPHA,
            focal_gamma=fcos.FOCAL_GAMMA,
            giou_smoothing=fcos.GIOU_SMOOTHING,
            max_positives=node.MAX_POSITIVES,
            auxiliary_weight=node.AUXILIARY_WEIGHT,
        ),
        "decoding": Decoding(
            score_thresh=fcos.SCORE_THRESH,
            topk_per_level=fcos.TOPK_PER_LEVEL,
            nms_thresh=fcos.NMS_THRESH,
            limit=cfg.TEST.DETECTIONS_PER_IMAGE,
            keypoint_logits=choice(cfg, "MODEL.FCPOSE.KEYPOINT_SCORE", {"probability": False, "logit": True}),
        ),
        "pixel_mean": tuple(cfg.MODEL.PIXEL_MEAN),
        "pixel_std": tuple(cfg.MODEL.PIXEL_STD),
    }


def _head(cfg: CfgNode, in_channels: int) -> FCOSHead:
    fcos = cfg.MODEL.FCOS
    towers = {name: Tower(in_channels, fcos.CHANNELS, fcos.NUM_CONVS, fcos.NORM) for name in ("cls", "box")}
    ltrb = init_conv(nn.Conv2d(fcos.CHANNELS, 4, 3, padding=1))
    predictors = {
        "cls": Predictor("cls", classifier_conv(fcos.CHANNELS, fcos.PRIOR_PROB)),
        "ltrb": Predictor("box", ltrb, num_levels=len(fcos.IN_FEATURES)),
        "centerness": Predictor("box", init_conv(nn.Conv2d(fcos.CHANNELS, 1, 3, padding=1))),
    }
    return FCOSHead(towers, predictors)


def _offsets(cfg: CfgNode, in_channels: int, num_keypoints: int, stride: int) -> nn.Module:
    options = {
        "p3": lambda: FinestOffsets(in_channels, num_keypoints, stride),
        "tower": lambda: TowerOffsets(cfg.MODEL.FCPOSE.CONVS_DIM, num_keypoints),
        "deconvolution": lambda: NoOffsets(num_keypoints, DECONVOLUTION),
        "none": lambda: NoOffsets(num_keypoints, 1),
    }
    return choice(cfg, "MODEL.FCPOSE.REFINEMENT", options)()


def _keypoint_losses(cfg: CfgNode) -> dict[str, tuple[KeypointLoss, float]]:
    """Without offsets there is nothing that the loss of offsets could train."""
    node = cfg.MODEL.FCPOSE
    heatmap = choice(
        cfg,
        "MODEL.FCPOSE.HEATMAP_LOSS",
        {"cells": cell_cross_entropy, "upsampled": upsampled_cross_entropy},
    )
    offset = choice(
        cfg,
        "MODEL.FCPOSE.OFFSET_LOSS",
        {"squared": squared_offset_error, "expected_distance": expected_distance},
    )
    losses: dict[str, tuple[KeypointLoss, float]] = {"loss_heatmap": (heatmap, node.HEATMAP_WEIGHT)}
    if node.REFINEMENT == "deconvolution" and node.HEATMAP_LOSS != "cells":
        raise ValueError(
            f"MODEL.FCPOSE.HEATMAP_LOSS must be 'cells' with MODEL.FCPOSE.REFINEMENT 'deconvolution', "
            f"not {node.HEATMAP_LOSS!r}"
        )
    if node.REFINEMENT in ("p3", "tower"):
        losses["loss_offset"] = (offset, node.OFFSET_WEIGHT)
    return losses
