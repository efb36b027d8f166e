"""Poseur as the keypoint head of Mask R-CNN (section 4.3).

Letters: N images, P regions of all images, K keypoints.
"""

from collections.abc import Mapping
from typing import Any

import torch
from detectron2.config import CfgNode, configurable
from detectron2.layers import ShapeSpec
from detectron2.modeling import ROI_HEADS_REGISTRY
from detectron2.modeling.poolers import ROIPooler
from detectron2.modeling.roi_heads import StandardROIHeads, select_foreground_proposals
from detectron2.structures import Instances
from torch import Tensor, nn

from posecore.modeling.losses import mean_over_processes
from posecore.structures.heatmaps import only_labeled
from posecore.structures.skeleton import load_skeleton
from poseur.build import (
    coarse_head,
    instance_score,
    keypoint_encoder,
    keypoint_score,
    pose_losses,
    query_decoder,
)
from poseur.memory import ChannelMapper, PositionedLevels
from poseur.network import COARSE
from poseur.prediction import Prediction
from poseur.regions import RegionDecoder, RegionHead, RegionNetwork, RegionRegression, Regions
from poseur.score import InstanceScore, KeypointScore


@ROI_HEADS_REGISTRY.register()
class PoseurROIHeads(StandardROIHeads):
    """Detectron2's ``StandardROIHeads`` whose keypoints come from Poseur.

    Args:
        keypoint_pooler: from the levels to the features of regions.
        keypoint_strides: of these levels, finest first.
        keypoint_head: from the features of regions and the levels to predictions.
        pose_losses: "coarse" and "decoder" -> the loss of these stages.
        pose_weight: of all of them.
        max_persons: of an image that train poses, drawn at random.
        keypoint_score, instance_score: see :mod:`poseur.score`.
        num_keypoints: K.
        heads: the other arguments of ``StandardROIHeads``.
    """

    @configurable
    def __init__(
        self,
        *,
        keypoint_pooler: ROIPooler,
        keypoint_strides: list[int],
        keypoint_head: RegionNetwork | RegionRegression,
        pose_losses: Mapping[str, nn.Module],
        pose_weight: float,
        max_persons: int,
        keypoint_score: KeypointScore,
        instance_score: InstanceScore,
        num_keypoints: int,
        **heads: Any,
    ) -> None:
        super().__init__(keypoint_pooler=keypoint_pooler, keypoint_head=keypoint_head, **heads)
        self.keypoint_strides = keypoint_strides
        self.pose_losses = nn.ModuleDict(pose_losses)
        self.pose_weight = pose_weight
        self.max_persons = max_persons
        self.keypoint_score = keypoint_score
        self.instance_score = instance_score
        self.num_keypoints = num_keypoints

    @classmethod
    def _init_keypoint_head(cls, cfg: CfgNode, input_shape: dict[str, ShapeSpec]) -> dict[str, Any]:
        """Called by Detectron2's ``from_config``."""
        settings, node = cfg.MODEL.ROI_KEYPOINT_HEAD, cfg.MODEL.POSEUR
        num_keypoints = load_skeleton(cfg.DATASETS.SKELETON).num_keypoints
        in_features = list(cfg.MODEL.ROI_HEADS.IN_FEATURES)
        levels = [input_shape[name] for name in in_features]
        widths = settings.CONV_DIMS
        head = RegionHead(levels[0].channels, widths, coarse_head(cfg, widths[-1], num_keypoints))
        network: RegionNetwork | RegionRegression = RegionRegression(head)
        if node.NUM_LAYERS > 0:
            network = RegionNetwork(
                head,
                RegionDecoder(
                    ChannelMapper([level.channels for level in levels], node.WIDTH),
                    PositionedLevels(node.WIDTH, len(levels)),
                    keypoint_encoder(cfg, num_keypoints),
                    query_decoder(cfg, len(levels)),
                ),
            )
        return {
            "keypoint_in_features": in_features,
            "keypoint_pooler": ROIPooler(
                output_size=settings.POOLER_RESOLUTION,
                scales=tuple(1 / level.stride for level in levels),
                sampling_ratio=settings.POOLER_SAMPLING_RATIO,
                pooler_type=settings.POOLER_TYPE,
            ),
            "keypoint_strides": [level.stride for level in levels],
            "keypoint_head": network,
            "pose_losses": pose_losses(cfg),
            "pose_weight": settings.LOSS_WEIGHT,
            "max_persons": max(node.QUERIES_PER_IMAGE // num_keypoints, 1),
            "keypoint_score": keypoint_score(cfg),
            "instance_score": instance_score(cfg),
            "num_keypoints": num_keypoints,
        }

    def _forward_keypoint(
        self, features: dict[str, Tensor], instances: list[Instances]
    ) -> dict[str, Tensor] | list[Instances]:
        """Losses of the proposals in training, else the instances with scores and pred_keypoints."""
        if self.training:
            instances = self._training_persons(instances)
        boxes = [each.proposal_boxes if self.training else each.pred_boxes for each in instances]
        maps = [features[name] for name in self.keypoint_in_features]
        height, width = maps[0].shape[2:]
        stride = self.keypoint_strides[0]
        regions = Regions(
            torch.cat([each.tensor for each in boxes]),
            [len(each) for each in boxes],
            (height * stride, width * stride),
        )
        stages = self.keypoint_head(self.keypoint_pooler(maps, boxes), maps, regions)
        if self.training:
            return self._losses(stages, regions, instances)
        return self._poses(list(stages.values())[-1], regions, instances)

    def _training_persons(self, proposals: list[Instances]) -> list[Instances]:
        """Of each image at most ``max_persons`` proposals that are persons with labeled keypoints.

        The keypoints need not lie within the proposal, since Poseur can leave it.
        """
        kept = []
        for persons in select_foreground_proposals(proposals, self.num_classes)[0]:
            if len(persons):
                persons = persons[(persons.gt_keypoints.tensor[..., 2] > 0).any(dim=1)]
            order = torch.randperm(len(persons), device=persons.proposal_boxes.device)
            kept.append(persons[order[: self.max_persons]])
        return kept

    def _losses(
        self, stages: dict[str, Prediction], regions: Regions, instances: list[Instances]
    ) -> dict[str, Tensor]:
        """loss_coarse and loss_decoder0, ...: means over labeled keypoints, in shares of the boxes."""
        none = regions.boxes.new_zeros(0, self.num_keypoints, 3)
        keypoints = [none] + [each.gt_keypoints.tensor for each in instances if len(each)]
        ground_truth = only_labeled(torch.cat(keypoints))
        labeled = ground_truth[..., 2] > 0
        normalizer = mean_over_processes({"keypoints": labeled.sum()}, device=ground_truth.device)[
            "keypoints"
        ]
        points = regions.shares(ground_truth[..., :2])
        losses = {}
        with torch.autocast(ground_truth.device.type, enabled=False):
            for name, prediction in stages.items():
                errors = self.pose_losses[COARSE if name == COARSE else "decoder"](prediction, points)
                losses[f"loss_{name}"] = self.pose_weight * (errors * labeled).sum() / normalizer
        return losses

    def _poses(self, result: Prediction, regions: Regions, instances: list[Instances]) -> list[Instances]:
        """Sets pred_keypoints (M, K, 3) in pixels and scores."""
        confidence = self.keypoint_score(result.scales)
        keypoints = torch.cat([regions.pixels(result.points), confidence[..., None]], dim=-1)
        for each, poses in zip(instances, keypoints.split(regions.counts), strict=True):
            each.pred_keypoints = poses
            each.scores = self.instance_score(each.scores, poses[..., 2])
        return instances
