"""The model ``GroupPose``: encoded cells, proposals of poses, and a decoder of groups of keypoint queries.

Letters: N images, L decoder layers, Q queries (groups), K keypoints, C classes, D width.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any

import torch
from detectron2.config import CfgNode, configurable
from detectron2.modeling import META_ARCH_REGISTRY
from detectron2.structures import ImageList, Instances
from torch import Tensor, nn

from grouppose.decoder import GroupDecoder, GroupDecoderLayer, own_states, states_with_next_positions
from grouppose.official import KEYPOINT_SCORE, OFFICIAL_CLASSES
from posecore.config.options import choice, choices
from posecore.layers.deform_transformer import DeformableEncoder, DeformableLayer, PyramidProjection
from posecore.layers.padding import cell_padding
from posecore.layers.position import added, in_place
from posecore.modeling.estimator import CommonParts, PoseEstimator
from posecore.modeling.losses import reduce_losses
from posecore.modeling.set_prediction.classification import ClassLoss, FocalCost, FocalLoss, VarifocalLoss
from posecore.modeling.set_prediction.costs import pose_costs, pose_oks, weighted_costs
from posecore.modeling.set_prediction.criterion import SetCriterion
from posecore.modeling.set_prediction.denoising import Denoiser, NoisedQueries
from posecore.modeling.set_prediction.detections import best_detections
from posecore.modeling.set_prediction.matcher import HungarianMatcher
from posecore.modeling.set_prediction.persons import (
    ONE_CLASS,
    Labeler,
    Persons,
    annotated_areas,
    gather_persons,
)
from posecore.modeling.set_prediction.poses import KeypointPoses
from posecore.modeling.set_prediction.predictions import Predictions
from posecore.modeling.set_prediction.proposals import ProposalHead, Proposals
from posecore.modeling.set_prediction.queries import GroupTokens

# COCO's flag from which a keypoint counts as visible: hidden ones too, as in the evaluation.
MIN_VISIBILITY = 1
# T of the sines that encode the positions of cells.
CELL_TEMPERATURE = 20.0
# The score of every query at the start of training, so that the many without a person do not dominate.
PRIOR = 0.01


@dataclass(frozen=True)
class GroupPoseOutput:
    """The network's output for a batch.

    Attributes:
        proposals: Q proposals of each image.
        predictions: (L, N, Q) predictions; denoising queries, if there are any, come last.
    """

    proposals: Proposals
    predictions: Predictions[KeypointPoses]


@META_ARCH_REGISTRY.register()
class GroupPose(PoseEstimator):
    """Group Pose: end-to-end multi-person pose estimation (arXiv 2308.07313).

    Args:
        in_features: names of the backbone's feature maps, finest first.
        projection: from these maps to levels of one width.
        encoder: lets the cells of all levels attend to each other.
        proposals: selects Q cells, and predicts a pose at each.
        tokens: the tokens that the decoder starts from.
        decoder: from tokens and proposals to predictions.
        denoiser: makes further queries in training; None for none.
        matcher: decides which query predicts which person.
        criterion: the losses of matched queries.
        labels: gives each person its class.
        keypoint_score: third value of every keypoint.
        max_detections: most poses of an image.
        common: the parts of every model.
    """

    @configurable
    def __init__(
        self,
        *,
        in_features: Sequence[str],
        projection: PyramidProjection,
        encoder: DeformableEncoder,
        proposals: ProposalHead,
        tokens: GroupTokens,
        decoder: GroupDecoder,
        denoiser: Denoiser | None,
        matcher: HungarianMatcher,
        criterion: SetCriterion,
        labels: Labeler,
        keypoint_score: float,
        max_detections: int,
        common: CommonParts,
    ) -> None:
        super().__init__(common)
        self.in_features = in_features
        self.projection = projection
        self.encoder = encoder
        self.proposals = proposals
        self.tokens = tokens
        self.decoder = decoder
        self.denoiser = denoiser
        self.matcher = matcher
        self.criterion = criterion
        self.labels = labels
        self.keypoint_score = keypoint_score
        self.max_detections = max_detections
        self._init_heads()

    def _init_heads(self) -> None:
        """Makes the heads of all layers copies of one, which moves no keypoint and finds nobody."""
        classifier = self.proposals.classifier
        nn.init.constant_(classifier.bias, math.log(PRIOR / (1 - PRIOR)))
        self.proposals.regressor.start_at_zero()
        for regressor in self.decoder.regressors:
            regressor.load_state_dict(self.decoder.regressors[0].state_dict())
            regressor.start_at_zero()  # type: ignore[operator]
        for other in self.decoder.classifiers:
            other.load_state_dict(classifier.state_dict())

    @classmethod
    def from_config(cls, cfg: CfgNode) -> dict[str, Any]:
        """The constructor's arguments, of MODEL.GROUPPOSE and the keys that all models share."""
        node = cfg.MODEL.GROUPPOSE
        common = CommonParts.from_config(cfg, shift=node.SHIFT)
        num_keypoints = common.skeleton.num_keypoints
        features = choices(cfg, "MODEL.GROUPPOSE.IN_FEATURES", common.backbone.output_shape())
        classes = choice(cfg, "MODEL.GROUPPOSE.CLASSES", {"person": ONE_CLASS, "official": OFFICIAL_CLASSES})
        class_losses: dict[str, ClassLoss] = {"focal": FocalLoss(), "oks_varifocal": VarifocalLoss()}
        class_loss = choice(cfg, "MODEL.GROUPPOSE.CLASS_LOSS", class_losses)
        position_rule = choice(cfg, "MODEL.GROUPPOSE.QUERY_POSITIONS", {"added": added, "in_place": in_place})
        state_rules = {"own": own_states, "official": states_with_next_positions}
        state_rule = choice(cfg, "MODEL.GROUPPOSE.AUXILIARY_STATES", state_rules)
        keypoint_scores = {"one": 1.0, "official": KEYPOINT_SCORE}
        options = pose_costs(common.skeleton.sigmas)
        options = {name: options[name] for name in ("keypoint", "oks", "relative_oks")}
        losses = weighted_costs(node.LOSSES, options, "MODEL.GROUPPOSE.LOSSES")
        costs = weighted_costs(node.COSTS, options, "MODEL.GROUPPOSE.COSTS") or losses
        levels = len(features) + node.EXTRA_LEVELS
        layer = partial(
            DeformableLayer, node.WIDTH, node.HEADS, levels, node.POINTS, node.FEED_FORWARD, node.DROPOUT
        )
        return {
            "in_features": node.IN_FEATURES,
            "projection": PyramidProjection(
                [feature.channels for feature in features], node.WIDTH, node.EXTRA_LEVELS
            ),
            "encoder": DeformableEncoder(
                [layer() for _ in range(node.ENCODER_LAYERS)], levels, node.WIDTH, CELL_TEMPERATURE
            ),
            "proposals": ProposalHead(node.WIDTH, classes.num_classes, num_keypoints, node.NUM_QUERIES),
            "tokens": GroupTokens(num_keypoints, node.WIDTH),
            "decoder": GroupDecoder(
                [
                    GroupDecoderLayer(
                        node.WIDTH,
                        node.HEADS,
                        node.DROPOUT,
                        layer(),
                        position_rule,
                    )
                    for _ in range(node.DECODER_LAYERS)
                ],
                node.WIDTH,
                classes.num_classes,
                state_rule,
                iterative=node.ITERATIVE_REFINEMENT,
            ),
            "denoiser": Denoiser(node.WIDTH, node.DENOISING, node.NOISE) if node.DENOISING else None,
            "matcher": HungarianMatcher(FocalCost(), list(costs.values()), class_weight=node.CLASS_WEIGHT),
            "criterion": SetCriterion(
                class_loss,
                losses,
                class_weight=node.CLASS_WEIGHT,
                quality=partial(pose_oks, sigmas=torch.tensor(common.skeleton.sigmas)),
            ),
            "labels": classes.labels,
            "keypoint_score": choice(cfg, "MODEL.GROUPPOSE.KEYPOINT_SCORE", keypoint_scores),
            "max_detections": cfg.TEST.DETECTIONS_PER_IMAGE,
            "common": common,
        }

    def losses(self, images: ImageList, targets: list[Instances]) -> dict[str, Tensor]:
        """``loss_class`` and a loss for each pose cost, of the last decoder layer.

        Those of the earlier layers have "_0" and so on behind their names, those of the proposals
        "_proposals", those of denoising queries "_denoising".
        """
        persons = self.persons(targets)
        counts = persons.images.bincount(minlength=len(images)).tolist()
        noised = None if self.denoiser is None else self.denoiser(persons, len(images))
        output = self.find(images, noised)
        proposals, found = output.proposals, output.predictions
        num_layers, num_queries = len(found.logits), proposals.logits.shape[1]
        usual = found[:, :, :num_queries]
        usual = Predictions(
            torch.cat([proposals.logits[None], usual.logits]),
            KeypointPoses(torch.cat([proposals.keypoints[None], usual.poses.keypoints])),
        )
        suffixes = ["_proposals", *(f"_{layer}" for layer in range(num_layers - 1)), ""]
        terms = self.criterion(usual, persons, self.matcher(usual, persons, counts), suffixes)
        if noised is not None:
            more = self.criterion(
                noised.select(found[:, :, num_queries:]), persons, noised.matches(num_layers)
            )
            terms |= {f"{name}_denoising": term for name, term in more.items()}
        return reduce_losses(terms)

    def predict(self, images: ImageList) -> list[Instances]:
        """The poses of the last decoder layer, those with the highest scores first.

        With the official classes a query may be there twice, as a person and as class 1, which never occurs
        in training.
        """
        predictions = self.find(images).predictions[-1]
        return best_detections(predictions, images.image_sizes, self.max_detections, self.keypoint_score)

    def persons(self, targets: list[Instances]) -> Persons:
        """The ground-truth persons of N images that have a visible keypoint; others are background."""
        persons = gather_persons(
            targets,
            self.skeleton.num_keypoints,
            min_visibility=MIN_VISIBILITY,
            labels=self.labels,
            areas=annotated_areas,
        )
        return persons[persons.any_visible]

    def find(self, images: ImageList, noised: NoisedQueries | None = None) -> GroupPoseOutput:
        """Runs the network alone, without losses or decoding.

        Nothing flows back from the decoder to the proposals: they have losses of their own.

        Args:
            images: N images, normalized and padded.
            noised: further queries.
        """
        maps = self.maps(images.tensor)
        paddings = [cell_padding(images, (x.shape[2], x.shape[3])) for x in maps]
        return self.decode_maps(maps, paddings, noised)

    def maps(self, images: Tensor) -> list[Tensor]:
        """Normalized and padded images (N, C, H, W) -> the map (N, D, H_l, W_l) of each level."""
        features = self.backbone(images)
        return self.projection([features[name] for name in self.in_features])

    def decode_maps(
        self, maps: Sequence[Tensor], paddings: Sequence[Tensor], noised: NoisedQueries | None = None
    ) -> GroupPoseOutput:
        """Runs the network behind the projection.

        Args:
            maps: (N, D, H_l, W_l) of each level.
            paddings: (N, H_l, W_l) bool of each level, True where a cell is padding.
            noised: further queries.
        """
        memory = self.encoder(maps, paddings)
        proposals = self.proposals(memory)
        states, keypoints = proposals.features.detach(), proposals.keypoints.detach()
        hidden = None
        if noised is not None:
            hidden = noised.hidden(states.shape[1])
            states = torch.cat([states, noised.features], dim=1)
            keypoints = torch.cat([keypoints, noised.keypoints], dim=1)
        return GroupPoseOutput(proposals, self.decoder(self.tokens(states), keypoints, memory, hidden))
