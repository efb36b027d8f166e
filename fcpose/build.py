"""From the configuration to the parts of the model; nothing else of the method reads a key."""

from typing import Any

from detectron2.config import CfgNode
from torch import nn

from fcpose.auxiliary import AuxiliaryHeatmaps
from fcpose.basis import Basis, FinestOffsets, NoOffsets, TowerOffsets
from fcpose.losses import (
    KeypointLoss,
    expected_distance,
    heatmap_cross_entropy,
    squared_offset_error,
    squared_own_offset_error,
    upsampled_cross_entropy,
)
from fcpose.refinement import PersonalRefinement, SharedRefinement
from posecore.config.options import choice
from posecore.modeling.fcos.build import (
    box_predictor,
    centerness_predictor,
    detector_parts,
    person_classifier,
    pyramid_channels,
    tower,
)
from posecore.modeling.fcos.head import FCOSHead
from posecore.modeling.keypoint_network import KeypointNetworks

# How many times larger a deconvolution makes the heatmaps (Table 4): from 1/8 of the image to 1/2.
DECONVOLUTION = 4


def model_parts(cfg: CfgNode) -> dict[str, Any]:
    """The arguments of ``FCPose`` as the configuration has them."""
    node = cfg.MODEL.FCPOSE
    parts = detector_parts(cfg)
    in_channels = pyramid_channels(cfg, parts["backbone"])
    stride = parts["backbone"].output_shape()[node.IN_FEATURES[0]].stride
    num_keypoints = parts["skeleton"].num_keypoints
    return parts | {
        "head": _head(cfg, in_channels),
        "basis_features": list(node.IN_FEATURES),
        "basis": Basis(in_channels, node.CONVS_DIM, len(node.IN_FEATURES), node.NUM_CONVS, node.NORM),
        "bases": nn.Conv2d(node.CONVS_DIM, node.CHANNELS, 1),
        "offsets": _offsets(cfg, in_channels, num_keypoints, stride),
        "keypoint_head": _keypoint_head(cfg, num_keypoints, stride),
        "refinement": _refinement(cfg, num_keypoints, stride),
        "auxiliary": AuxiliaryHeatmaps(node.CONVS_DIM, num_keypoints, node.NORM) if node.AUXILIARY else None,
        "auxiliary_weight": node.AUXILIARY_WEIGHT,
        "keypoint_losses": _keypoint_losses(cfg),
        "max_positives": node.MAX_POSITIVES,
        "keypoint_logits": choice(cfg, "MODEL.FCPOSE.KEYPOINT_SCORE", {"probability": False, "logit": True}),
    }


def _head(cfg: CfgNode, in_channels: int) -> FCOSHead:
    return FCOSHead(
        {name: tower(cfg, in_channels) for name in ("cls", "box")},
        {
            "cls": person_classifier(cfg, "cls"),
            "ltrb": box_predictor(cfg, "box"),
            "centerness": centerness_predictor(cfg, "box"),
        },
    )


def _keypoint_head(cfg: CfgNode, num_keypoints: int, stride: int) -> KeypointNetworks:
    fcos, node = cfg.MODEL.FCOS, cfg.MODEL.FCPOSE
    enlarge, heatmap_stride = None, stride
    if node.REFINEMENT == "deconvolution":
        heatmap_stride = stride // DECONVOLUTION
        enlarge = nn.ConvTranspose2d(
            num_keypoints, num_keypoints, 2 * DECONVOLUTION, stride=DECONVOLUTION, padding=DECONVOLUTION // 2
        )
    return KeypointNetworks(
        fcos.CHANNELS,
        (node.CHANNELS, *[node.WIDTH] * (node.DEPTH - 1), num_keypoints),
        kernel_size=node.CONTROLLER_KERNEL,
        ranges=_ranges(cfg),
        stride=stride,
        resize=enlarge,
        heatmap_stride=heatmap_stride,
    )


def _ranges(cfg: CfgNode) -> tuple[float, ...]:
    """Largest sizes of the levels' persons; those of the last have none but that of the image."""
    return (*cfg.MODEL.FCOS.SIZE_RANGES, cfg.INPUT.MAX_SIZE_TRAIN)


def _refinement(cfg: CfgNode, num_keypoints: int, stride: int) -> nn.Module:
    node = cfg.MODEL.FCPOSE
    if node.REFINEMENT != "per_person":
        return SharedRefinement()
    networks = KeypointNetworks(
        cfg.MODEL.FCOS.CHANNELS,
        (node.CHANNELS, 2 * num_keypoints),
        kernel_size=node.CONTROLLER_KERNEL,
        ranges=_ranges(cfg),
        stride=stride,
    )
    return PersonalRefinement(networks)


def _offsets(cfg: CfgNode, in_channels: int, num_keypoints: int, stride: int) -> nn.Module:
    options = {
        "p3": lambda: FinestOffsets(in_channels, num_keypoints, stride),
        "tower": lambda: TowerOffsets(cfg.MODEL.FCPOSE.CONVS_DIM, num_keypoints),
        "deconvolution": lambda: NoOffsets(num_keypoints, DECONVOLUTION),
        "none": lambda: NoOffsets(num_keypoints, 1),
        # What a person has of its own needs no map.
        "per_person": lambda: NoOffsets(num_keypoints, 1),
    }
    return choice(cfg, "MODEL.FCPOSE.REFINEMENT", options)()


def _keypoint_losses(cfg: CfgNode) -> dict[str, tuple[KeypointLoss, float]]:
    """Without offsets there is nothing that the loss of offsets could train."""
    node = cfg.MODEL.FCPOSE
    heatmap = choice(
        cfg,
        "MODEL.FCPOSE.HEATMAP_LOSS",
        {"cells": heatmap_cross_entropy, "upsampled": upsampled_cross_entropy},
    )
    offset = choice(
        cfg,
        "MODEL.FCPOSE.OFFSET_LOSS",
        {"squared": squared_offset_error, "expected_distance": expected_distance},
    )
    needed = {"deconvolution": ("HEATMAP_LOSS", "cells"), "per_person": ("OFFSET_LOSS", "squared")}
    if node.REFINEMENT in needed:
        key, value = needed[node.REFINEMENT]
        if node[key] != value:
            raise ValueError(
                f"MODEL.FCPOSE.{key} must be {value!r} with MODEL.FCPOSE.REFINEMENT {node.REFINEMENT!r}, "
                f"not {node[key]!r}"
            )
    if node.REFINEMENT == "per_person":
        offset = squared_own_offset_error
    losses: dict[str, tuple[KeypointLoss, float]] = {"loss_heatmap": (heatmap, node.HEATMAP_WEIGHT)}
    if node.REFINEMENT not in ("none", "deconvolution"):
        losses["loss_offset"] = (offset, node.OFFSET_WEIGHT)
    return losses
