"""From the configuration to the parts of the model; nothing else of the method reads a key."""

from collections.abc import Sequence
from functools import partial
from typing import Any

import torch
from detectron2.config import CfgNode
from detectron2.modeling import build_backbone
from torch import nn

from poet.codec import PoseCodec
from poet.criterion import Criterion
from poet.head import PoseHead
from poet.matcher import HungarianMatcher, OfficialMatcher
from poet.persons import official_classes, one_class
from poet.terms import TERMS, Term, oks_error
from poet.transformer import CrossAttention, DecoderLayer, EncoderLayer, LearnedQueries, Transformer
from posecore.config.options import choice
from posecore.modeling import backbones as _backbones  # noqa: F401  (registers the ResNets)
from posecore.structures.skeleton import Skeleton, load_skeleton


def model_parts(cfg: CfgNode) -> dict[str, Any]:
    """The arguments of ``POET`` as the configuration has them."""
    node = cfg.MODEL.POET
    skeleton = load_skeleton(cfg.DATASETS.SKELETON)
    backbone = build_backbone(cfg)
    shapes = backbone.output_shape()
    if node.IN_FEATURE not in shapes:
        raise ValueError(
            f"MODEL.POET.IN_FEATURE must be one of the backbone's maps {sorted(shapes)}, "
            f"not {node.IN_FEATURE!r}"
        )
    codec = PoseCodec(skeleton.num_keypoints)
    losses = _terms(node.LOSSES, "MODEL.POET.LOSSES", skeleton)
    costs = _terms(node.COSTS, "MODEL.POET.COSTS", skeleton) or losses
    matcher = choice(cfg, "MODEL.POET.MATCHER", {"repaired": HungarianMatcher, "official": OfficialMatcher})
    num_classes, label = choice(
        cfg, "MODEL.POET.CLASSES", {"person": (1, one_class), "official": (2, official_classes)}
    )
    return {
        "backbone": backbone,
        "in_feature": node.IN_FEATURE,
        "skeleton": skeleton,
        "projection": nn.Conv2d(shapes[node.IN_FEATURE].channels, node.WIDTH, 1),
        "transformer": _transformer(node),
        "queries": LearnedQueries(node.NUM_QUERIES, node.WIDTH),
        "head": PoseHead(node.WIDTH, num_classes, codec),
        "matcher": matcher(list(costs.values())),
        "criterion": Criterion(losses, node.NO_OBJECT_WEIGHT),
        "label": label,
        "least_visibility": _least_visibility(node),
        "auxiliary": node.AUXILIARY,
        "score_keypoints": choice(cfg, "MODEL.POET.KEYPOINT_SCORE", {"visibility": True, "one": False}),
        "pixel_mean": tuple(cfg.MODEL.PIXEL_MEAN),
        "pixel_std": tuple(cfg.MODEL.PIXEL_STD),
        "shift": node.SHIFT,
    }


def _least_visibility(node: CfgNode) -> int:
    if node.LEAST_VISIBILITY not in (1, 2):
        raise ValueError(f"MODEL.POET.LEAST_VISIBILITY must be 1 or 2, not {node.LEAST_VISIBILITY!r}")
    return node.LEAST_VISIBILITY


def _transformer(node: CfgNode) -> Transformer:
    sizes = node.WIDTH, node.HEADS, node.FEED_FORWARD, node.DROPOUT
    cross_attention = partial(CrossAttention, node.WIDTH, node.HEADS, node.DROPOUT)
    return Transformer(
        [EncoderLayer(*sizes) for _ in range(node.ENCODER_LAYERS)],
        [DecoderLayer(cross_attention(), *sizes) for _ in range(node.DECODER_LAYERS)],
        node.WIDTH,
    )


def _terms(pairs: Sequence, key: str, skeleton: Skeleton) -> dict[str, tuple[Term, float]]:
    """Name -> (term, weight)."""
    options = TERMS | {"oks": partial(oks_error, sigmas=torch.tensor(skeleton.sigmas))}
    for pair in pairs:
        if len(pair) != 2 or pair[0] not in options:
            raise ValueError(
                f"{key} must hold pairs of a term ({', '.join(options)}) and its weight, not {pair!r}"
            )
    return {name: (options[name], float(weight)) for name, weight in pairs}
