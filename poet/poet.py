"""The model ``POET``: a backbone, a transformer, and a set of poses that needs no post-processing.

Letters: N images, H and W the size of the feature map, L decoder layers, Q queries, P persons, K keypoints.
"""

from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from typing import Any

import torch
from detectron2.config import CfgNode, configurable
from detectron2.modeling import META_ARCH_REGISTRY
from detectron2.structures import ImageList, Instances
from torch import Tensor, nn

from poet.classes import ClassRule, focal_rule, softmax_rule
from poet.codec import PoseCodec
from poet.costs import poet_costs
from poet.head import PoseHead
from poet.official import OFFICIAL_CLASSES, OfficialMatcher
from poet.transformer import (
    AttentionMaps,
    Cells,
    CrossAttention,
    DecoderLayer,
    DeformableEncoderLayer,
    EncoderLayer,
    Transformer,
)
from posecore.config.options import choice
from posecore.layers.padding import cell_padding
from posecore.layers.position import encode_cells
from posecore.modeling.estimator import CommonParts, PoseEstimator
from posecore.modeling.losses import reduce_losses
from posecore.modeling.set_prediction.costs import weighted_costs
from posecore.modeling.set_prediction.criterion import SetCriterion
from posecore.modeling.set_prediction.detections import pose_detections
from posecore.modeling.set_prediction.matcher import HungarianMatcher
from posecore.modeling.set_prediction.persons import ONE_CLASS, Labeler, Persons, gather_persons
from posecore.modeling.set_prediction.poses import Poses
from posecore.modeling.set_prediction.predictions import Predictions
from posecore.modeling.set_prediction.queries import LearnedQueries, Queries


@dataclass(frozen=True)
class POETOutput:
    """The network's output for a batch.

    Attributes:
        predictions: (L, N, Q) predictions.
        size: (H, W) of the feature map.
        attention: maps of the last layers if they were asked for.
    """

    predictions: Predictions[Poses]
    size: tuple[int, int]
    attention: AttentionMaps | None


@META_ARCH_REGISTRY.register()
class POET(PoseEstimator):
    """End-to-end trainable multi-instance pose estimation with transformers (arXiv 2103.12115).

    Args:
        in_feature: name of the backbone's feature map that the encoder reads.
        projection: from the feature map's channels to the transformer's width.
        transformer: from cells and queries to decoder states.
        queries: makes the decoder's queries for a number of images.
        head: from decoder states to classes and poses.
        matcher: decides which query predicts which person.
        criterion: the losses of matched queries.
        class_rule: what the head's logits mean.
        labels: gives each person its class.
        min_visibility: COCO's flag from which a keypoint counts as visible, 1 or 2.
        auxiliary: whether every decoder layer has losses, or the last alone.
        keypoint_scores: from poses to the (..., K) third values of keypoints.
        common: the parts of every model.
    """

    @configurable
    def __init__(
        self,
        *,
        in_feature: str,
        projection: nn.Module,
        transformer: Transformer,
        queries: LearnedQueries,
        head: PoseHead,
        matcher: HungarianMatcher,
        criterion: SetCriterion,
        class_rule: ClassRule,
        labels: Labeler,
        min_visibility: int,
        auxiliary: bool,
        keypoint_scores: Callable[[Poses], Tensor],
        common: CommonParts,
    ) -> None:
        super().__init__(common)
        self.in_feature = in_feature
        self.projection = projection
        self.transformer = transformer
        self.queries = queries
        self.head = head
        self.matcher = matcher
        self.criterion = criterion
        self.class_rule = class_rule
        self.class_rule.start(head.classifier)
        self.labels = labels
        self.min_visibility = min_visibility
        self.auxiliary = auxiliary
        self.keypoint_scores = keypoint_scores

    @classmethod
    def from_config(cls, cfg: CfgNode) -> dict[str, Any]:
        """The constructor's arguments, of MODEL.POET and the keys that all models share."""
        node = cfg.MODEL.POET
        common = CommonParts.from_config(cfg, shift=node.SHIFT)
        skeleton = common.skeleton
        feature = choice(cfg, "MODEL.POET.IN_FEATURE", common.backbone.output_shape())
        classes = choice(cfg, "MODEL.POET.CLASSES", {"person": ONE_CLASS, "official": OFFICIAL_CLASSES})
        matcher = choice(
            cfg, "MODEL.POET.MATCHER", {"repaired": HungarianMatcher, "official": OfficialMatcher}
        )
        rules = {"cross_entropy": softmax_rule(node.NO_OBJECT_WEIGHT), "focal": focal_rule()}
        rule = choice(cfg, "MODEL.POET.CLASS_LOSS", rules)
        options = poet_costs(skeleton.sigmas)
        sizes = {"hidden": node.FEED_FORWARD, "dropout": node.DROPOUT}
        encoders: dict[str, Callable[[], nn.Module]] = {
            "dense": partial(EncoderLayer, node.WIDTH, node.HEADS, **sizes),
            "deformable": partial(DeformableEncoderLayer, node.WIDTH, node.HEADS, node.POINTS, **sizes),
        }
        encoder_layer = choice(cfg, "MODEL.POET.ENCODER", encoders)
        losses = weighted_costs(node.LOSSES, options, "MODEL.POET.LOSSES")
        costs = weighted_costs(node.COSTS, options, "MODEL.POET.COSTS") or losses
        return {
            "in_feature": node.IN_FEATURE,
            "projection": nn.Conv2d(feature.channels, node.WIDTH, 1),
            "transformer": Transformer(
                encoder=[encoder_layer() for _ in range(node.ENCODER_LAYERS)],
                decoder=[
                    DecoderLayer(
                        CrossAttention(node.WIDTH, node.HEADS, node.DROPOUT),
                        node.WIDTH,
                        node.HEADS,
                        node.FEED_FORWARD,
                        node.DROPOUT,
                    )
                    for _ in range(node.DECODER_LAYERS)
                ],
                width=node.WIDTH,
            ),
            "queries": LearnedQueries(node.NUM_QUERIES, node.WIDTH),
            "head": PoseHead(
                node.WIDTH,
                classes.num_classes,
                PoseCodec(skeleton.num_keypoints),
                no_object=rule.no_object,
            ),
            "matcher": matcher(rule.cost, list(costs.values()), class_weight=node.CLASS_WEIGHT),
            "criterion": SetCriterion(rule.loss, losses, class_weight=node.CLASS_WEIGHT),
            "class_rule": rule,
            "labels": classes.labels,
            "min_visibility": choice(cfg, "MODEL.POET.MIN_VISIBILITY", {1: 1, 2: 2}),
            "auxiliary": node.AUXILIARY,
            "keypoint_scores": choice(
                cfg, "MODEL.POET.KEYPOINT_SCORE", {"visibility": predicted_visibility, "one": constant_one}
            ),
            "common": common,
        }

    def losses(self, images: ImageList, targets: list[Instances]) -> dict[str, Tensor]:
        """``loss_class`` and a loss for each pose cost; with auxiliary losses, of every decoder layer."""
        predictions = self.find(images).predictions
        if not self.auxiliary:
            predictions = predictions[-1:]
        persons = self.persons(targets)
        matches = self.matcher(predictions, persons, [len(target) for target in targets])
        return reduce_losses(self.criterion(predictions, persons, matches))

    def predict(self, images: ImageList) -> list[Instances]:
        """The poses of the last decoder layer: Q for each image, in the queries' order."""
        return self.decode(self.find(images).predictions, images.image_sizes)

    def persons(self, targets: list[Instances]) -> Persons:
        """The ground-truth persons of N images as targets."""
        return gather_persons(
            targets, self.skeleton.num_keypoints, min_visibility=self.min_visibility, labels=self.labels
        )

    def find(
        self, images: ImageList, queries: Queries | None = None, *, need_weights: bool = False
    ) -> POETOutput:
        """Runs the network alone, without losses or decoding.

        Args:
            images: N images, normalized and padded.
            queries: the decoder's queries for each image; by default the learned ones.
            need_weights: whether attention maps are returned; they take memory by the square of H * W.
        """
        features = self.projection(self.backbone(images.tensor)[self.in_feature])
        padding = cell_padding(images, (features.shape[2], features.shape[3]))
        return self.decode_features(features, padding, queries, need_weights=need_weights)

    def decode_features(
        self,
        features: Tensor,
        padding: Tensor,
        queries: Queries | None = None,
        *,
        need_weights: bool = False,
    ) -> POETOutput:
        """Runs the network behind the projection.

        Args:
            features: (N, C, H, W) the projected feature map.
            padding: (N, H, W) bool, True where a cell is padding.
            queries, need_weights: as for :meth:`find`.
        """
        size = features.shape[2], features.shape[3]
        cells = Cells(
            features.flatten(2).transpose(1, 2),
            encode_cells(padding, features.shape[1]).flatten(2).transpose(1, 2),
            padding.flatten(1),
            size,
        )
        decoded = self.transformer(cells, queries or self.queries(features.shape[0]), need_weights)
        return POETOutput(self.head(decoded.states), size, decoded.attention)

    def decode(
        self, predictions: Predictions[Poses], sizes: list[tuple[int, int]], layer: int = -1
    ) -> list[Instances]:
        """The poses of one decoder layer as detections.

        The score of a pose is the probability of its likeliest class. Its box encloses the keypoints within
        the image. With the official classes a person without usable keypoints is of class 1, any other person
        of class 0.

        Args:
            predictions: (L, N, Q) predictions.
            sizes: N sizes (height, width) of the images, pixels.
            layer: index of the decoder layer.

        Returns:
            Per image Q detections in its pixels, in the queries' order.
        """
        scores, no_person = self.class_rule.scores(predictions.logits[layer])
        poses = predictions.poses[layer]
        keypoint_scores = self.keypoint_scores(poses)
        return [
            pose_detections(
                size, poses.keypoints[image], keypoint_scores[image], scores[image], no_person[image]
            )
            for image, size in enumerate(sizes)
        ]


def predicted_visibility(poses: Poses) -> Tensor:
    """(..., K) predicted probability that a keypoint is visible."""
    return poses.visibility


def constant_one(poses: Poses) -> Tensor:
    """(..., K) ones, as in the official code."""
    return torch.ones_like(poses.visibility)
