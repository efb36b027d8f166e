"""From the configuration to the parts of the model; nothing else of the model reads a key."""

import copy
from functools import partial
from typing import Any

from detectron2.config import CfgNode
from detectron2.layers import ShapeSpec
from detectron2.modeling import build_backbone
from torch import nn

from posecore.config.options import choice
from posecore.layers.deform_attention import EMSDeformAttention, MSDeformAttention
from posecore.modeling import backbones as _backbones  # noqa: F401  (registers them)
from posecore.structures.skeleton import load_skeleton
from poseur.decoder import (
    CrossAttention,
    Decoder,
    DecoderLayer,
    FeedForward,
    NoSelfAttention,
    SelfAttention,
)
from poseur.encoder import LearnedQueries, ProjectedEncoder, SummedEncoder
from poseur.flip import Fusion, agreement_fusion, mean_fusion, official_power_fusion, power_fusion
from poseur.heads import CoarseHead, RefinementHead
from poseur.memory import ChannelMapper, PositionedLevels
from poseur.network import COARSE, CoarseNetwork, CoarseStart, LearnedStart, TransformerNetwork
from poseur.noise import Noise, no_noise, perturbed_proposals, random_proposals
from poseur.rle import AbsoluteError, FlowInit, FlowLoss, RealNVP, negative_log_likelihood, official_loss
from poseur.score import (
    InstanceScore,
    KeypointScore,
    certainty,
    no_score,
    probability,
    product_score,
    sum_score,
    thresholded_product_score,
)
from poseur.settings import Scoring, Training

# Gain of the layers that regress proposals, where nothing is done by mistake.
SMALL_GAIN = 0.01


def model_parts(cfg: CfgNode) -> dict[str, Any]:
    """The arguments of ``Poseur`` as the configuration has them."""
    node = cfg.MODEL.POSEUR
    skeleton = load_skeleton(cfg.DATASETS.SKELETON)
    backbone = build_backbone(cfg)
    shapes = backbone.output_shape()
    missing = [name for name in node.IN_FEATURES if name not in shapes]
    if missing or not node.IN_FEATURES:
        raise ValueError(
            f"MODEL.POSEUR.IN_FEATURES must be some of the backbone's maps {tuple(shapes)}, "
            f"not {tuple(node.IN_FEATURES)}"
        )
    return {
        "backbone": backbone,
        "in_features": list(node.IN_FEATURES),
        "skeleton": skeleton,
        "network": _network(cfg, [shapes[name] for name in node.IN_FEATURES], skeleton.num_keypoints),
        "pose_losses": pose_losses(cfg),
        "training": Training(
            per_crop=choice(cfg, "MODEL.POSEUR.LOSS_NORMALIZER", {"predictions": False, "crops": True}),
            decoder_weight=node.DECODER_WEIGHT,
        ),
        "scoring": Scoring(
            keypoints=keypoint_score(cfg),
            persons=instance_score(cfg),
            fusion=_fusion(cfg),
            oks_nms_thresh=node.OKS_NMS_THRESH,
            crops_at_once=node.TEST_CROPS,
        ),
        "pixel_mean": tuple(cfg.MODEL.PIXEL_MEAN),
        "pixel_std": tuple(cfg.MODEL.PIXEL_STD),
    }


def _network(cfg: CfgNode, shapes: list[ShapeSpec], num_keypoints: int) -> nn.Module:
    node = cfg.MODEL.POSEUR
    if node.NUM_LAYERS == 0:
        return CoarseNetwork(coarse_head(cfg, shapes[-1].channels, num_keypoints))
    return TransformerNetwork(
        neck=ChannelMapper([shape.channels for shape in shapes], node.WIDTH),
        start=_start(cfg, shapes[-1].channels, num_keypoints),
        positions=PositionedLevels(node.WIDTH, len(shapes)),
        decoder=query_decoder(cfg, len(shapes)),
    )


def _start(cfg: CfgNode, last_channels: int, num_keypoints: int) -> CoarseStart | LearnedStart:
    node = cfg.MODEL.POSEUR
    if choice(cfg, "MODEL.POSEUR.START", {"proposals": False, "learned": True}):
        return LearnedStart(LearnedQueries(node.WIDTH, num_keypoints))
    pool_backbone = choice(cfg, "MODEL.POSEUR.POOL", {"backbone": True, "neck": False})
    return CoarseStart(
        head=coarse_head(cfg, last_channels if pool_backbone else node.WIDTH, num_keypoints),
        encoder=keypoint_encoder(cfg, num_keypoints),
        noise=_noise(cfg),
        pool_backbone=pool_backbone,
    )


def keypoint_encoder(cfg: CfgNode, num_keypoints: int) -> SummedEncoder | ProjectedEncoder:
    encoders: dict[str, type[SummedEncoder] | type[ProjectedEncoder]] = {
        "sum": SummedEncoder,
        "projection": ProjectedEncoder,
    }
    return choice(cfg, "MODEL.POSEUR.ENCODER", encoders)(cfg.MODEL.POSEUR.WIDTH, num_keypoints)


def coarse_head(cfg: CfgNode, channels: int, num_keypoints: int) -> CoarseHead:
    return CoarseHead(
        channels,
        num_keypoints,
        learn_scales=_learns_scales(cfg),
        gain=1.0 if _as_official(cfg) else SMALL_GAIN,
    )


def _noise(cfg: CfgNode) -> Noise:
    node = cfg.MODEL.POSEUR.NOISE
    options: dict[str, Noise] = {
        "random": partial(random_proposals, groups=node.GROUPS),
        "perturbed": partial(
            perturbed_proposals, groups=node.GROUPS, per_group=node.PER_GROUP, variance=node.VARIANCE
        ),
        "none": no_noise,
    }
    return choice(cfg, "MODEL.POSEUR.NOISE.KIND", options)


def query_decoder(cfg: CfgNode, num_levels: int) -> Decoder:
    node = cfg.MODEL.POSEUR
    attention = choice(
        cfg, "MODEL.POSEUR.CROSS_ATTENTION", {"EMSDA": EMSDeformAttention, "MSDA": MSDeformAttention}
    )
    # The heads of all layers start equal.
    head = RefinementHead(node.WIDTH, learn_scales=_learns_scales(cfg))
    layers = [
        DecoderLayer(
            self_attention=(
                SelfAttention(node.WIDTH, node.HEADS, node.DROPOUT)
                if node.SELF_ATTENTION
                else NoSelfAttention()
            ),
            cross_attention=CrossAttention(
                node.WIDTH,
                attention(
                    node.WIDTH,
                    node.HEADS,
                    num_levels,
                    node.POINTS,
                    init="xavier" if _as_official(cfg) else "zero",
                ),
                node.DROPOUT,
            ),
            feed_forward=FeedForward(node.WIDTH, node.FEED_FORWARD, node.DROPOUT),
            head=copy.deepcopy(head),
        )
        for _ in range(1 if node.SHARE_LAYERS else node.NUM_LAYERS)
    ]
    return Decoder(layers, node.NUM_LAYERS)


def pose_losses(cfg: CfgNode) -> dict[str, nn.Module]:
    """The losses of proposals and of decoder layers, each with its flow."""
    node = cfg.MODEL.POSEUR
    parts = []
    if node.START == "proposals" or node.NUM_LAYERS == 0:
        parts.append(COARSE)
    if node.NUM_LAYERS > 0:
        parts.append("decoder")
    formulas = {"rle": negative_log_likelihood, "rle_official": official_loss, "l1": None}
    formula = choice(cfg, "MODEL.POSEUR.LOSS", formulas)
    if formula is None:
        return {part: AbsoluteError() for part in parts}
    init: FlowInit = "default" if _as_official(cfg) else "identity"
    return {part: FlowLoss(RealNVP(node.PRIOR_MEAN, init=init), formula) for part in parts}


def keypoint_score(cfg: CfgNode) -> KeypointScore:
    node = cfg.MODEL.POSEUR
    if not _learns_scales(cfg) and node.SCORE != "none":
        raise ValueError(
            f"MODEL.POSEUR.SCORE must be 'none' with MODEL.POSEUR.LOSS 'l1', which learns no scales, "
            f"not {node.SCORE!r}"
        )
    options: dict[str, KeypointScore] = {
        "probability": partial(probability, half_width=node.SCORE_HALF_WIDTH, factor=node.SCORE_FACTOR),
        "certainty": certainty,
        "none": no_score,
    }
    return choice(cfg, "MODEL.POSEUR.SCORE", options)


def instance_score(cfg: CfgNode) -> InstanceScore:
    """What MODEL.POSEUR.INSTANCE_SCORE asks for."""
    return choice(
        cfg,
        "MODEL.POSEUR.INSTANCE_SCORE",
        {"product": product_score, "sum": sum_score, "thresholded_product": thresholded_product_score},
    )


def _fusion(cfg: CfgNode) -> Fusion | None:
    options: dict[str, Fusion | None] = {
        "power": power_fusion,
        "power_official": official_power_fusion,
        "mean": mean_fusion,
        "agreement": agreement_fusion,
        "none": None,
    }
    return choice(cfg, "MODEL.POSEUR.FLIP_FUSION", options)


def _learns_scales(cfg: CfgNode) -> bool:
    return cfg.MODEL.POSEUR.LOSS != "l1"


def _as_official(cfg: CfgNode) -> bool:
    return choice(cfg, "MODEL.POSEUR.INIT", {"repaired": False, "official": True})
