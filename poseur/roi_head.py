"""Poseur as the keypoint head of Mask R-CNN (section 4.3): :class:`PoseurROIHeads`.

Letters: N images, P regions of all images, K keypoints.
"""

from typing import Any

import torch
from detectron2.config import CfgNode, configurable
from detectron2.layers import ShapeSpec
from detectron2.modeling import ROI_HEADS_REGISTRY
from detectron2.modeling.poolers import ROIPooler
from detectron2.modeling.roi_heads import StandardROIHeads, select_foreground_proposals
from detectron2.structures import Instances
from torch import Tensor

from posecore.modeling.losses import LossTerm, reduce_losses
from posecore.structures.heatmaps import only_labeled
from posecore.structures.skeleton import load_skeleton
from poseur.decoder import Decoder
from poseur.encoder import build_keypoint_encoder
from poseur.heads import CoarseHead
from poseur.losses import StageLosses
from poseur.memory import ChannelMapper, PositionedLevels
from poseur.prediction import Prediction
from poseur.regions import RegionDecoder, RegionHead, RegionNetwork, RegionRegression, Regions
from poseur.score import Scores
from poseur.settings import RegionTrainingSettings


@ROI_HEADS_REGISTRY.register()
class PoseurROIHeads(StandardROIHeads):
    """Detectron2's ``StandardROIHeads`` with Poseur as the keypoint head.

    Args:
        keypoint_pooler: from the levels to the features of regions.
        keypoint_stride: stride of the finest of these levels.
        keypoint_head: from the features of regions and the levels to predictions.
        pose_losses: from predictions to losses of keypoints.
        training_settings: the weight of these losses, and how many persons are trained.
        scores: the scores of keypoints and persons.
        heads: the other arguments of ``StandardROIHeads``.
    """

    @configurable
    def __init__(
        self,
        *,
        keypoint_pooler: ROIPooler,
        keypoint_stride: int,
        keypoint_head: RegionNetwork | RegionRegression,
        pose_losses: StageLosses,
        training_settings: RegionTrainingSettings,
        scores: Scores,
        **heads: Any,
    ) -> None:
        super().__init__(keypoint_pooler=keypoint_pooler, keypoint_head=keypoint_head, **heads)
        self.keypoint_stride = keypoint_stride
        self.pose_losses = pose_losses
        self.training_settings = training_settings
        self.scores = scores

    @classmethod
    def _init_keypoint_head(cls, cfg: CfgNode, input_shape: dict[str, ShapeSpec]) -> dict[str, Any]:
        """The arguments that concern keypoints; Detectron2's ``from_config`` calls it for them."""
        node, head_node = cfg.MODEL.POSEUR, cfg.MODEL.ROI_KEYPOINT_HEAD
        num_keypoints = load_skeleton(cfg.DATASETS.SKELETON).num_keypoints
        in_features = list(cfg.MODEL.ROI_HEADS.IN_FEATURES)
        channels = [input_shape[name].channels for name in in_features]
        strides = [input_shape[name].stride for name in in_features]
        head = RegionHead(
            channels[0],
            head_node.CONV_DIMS,
            CoarseHead.from_config(cfg, head_node.CONV_DIMS[-1], num_keypoints),
        )
        network: RegionNetwork | RegionRegression
        if node.NUM_LAYERS == 0:
            network = RegionRegression(head)
        else:
            network = RegionNetwork(
                head,
                RegionDecoder(
                    neck=ChannelMapper(channels, node.WIDTH),
                    positions=PositionedLevels(node.WIDTH, len(channels)),
                    encoder=build_keypoint_encoder(cfg, num_keypoints),
                    decoder=Decoder.from_config(cfg, len(channels)),
                ),
            )
        return {
            "keypoint_in_features": in_features,
            "keypoint_pooler": ROIPooler(
                output_size=head_node.POOLER_RESOLUTION,
                scales=tuple(1 / stride for stride in strides),
                sampling_ratio=head_node.POOLER_SAMPLING_RATIO,
                pooler_type=head_node.POOLER_TYPE,
            ),
            "keypoint_stride": strides[0],
            "keypoint_head": network,
            "pose_losses": StageLosses.from_config(cfg),
            "training_settings": RegionTrainingSettings(
                weight=head_node.LOSS_WEIGHT,
                max_persons=max(node.QUERIES_PER_IMAGE // num_keypoints, 1),
            ),
            "scores": Scores.from_config(cfg),
        }

    def _forward_keypoint(
        self, features: dict[str, Tensor], instances: list[Instances]
    ) -> dict[str, Tensor] | list[Instances]:
        """The losses of the proposals in training, else the instances with scores and pred_keypoints."""
        if self.training:
            instances = self._training_persons(instances)
        boxes = [each.proposal_boxes if self.training else each.pred_boxes for each in instances]
        maps = [features[name] for name in self.keypoint_in_features]
        height, width = maps[0].shape[2:]
        stride = self.keypoint_stride
        regions = Regions(
            torch.cat([each.tensor for each in boxes]),
            [len(each) for each in boxes],
            (height * stride, width * stride),
        )
        stages = self.keypoint_head(self.keypoint_pooler(maps, boxes), maps, regions)
        if self.training:
            return self._keypoint_losses(stages, regions, instances)
        return self._with_poses(list(stages.values())[-1], regions, instances)

    def _training_persons(self, proposals: list[Instances]) -> list[Instances]:
        """Of each image at most ``max_persons`` proposals that are persons with labeled keypoints.

        The keypoints need not lie within the proposal, since Poseur's keypoints can leave it.
        """
        kept = []
        for persons in select_foreground_proposals(proposals, self.num_classes)[0]:
            if len(persons):
                persons = persons[(persons.gt_keypoints.tensor[..., 2] > 0).any(dim=1)]
            order = torch.randperm(len(persons), device=persons.proposal_boxes.device)
            kept.append(persons[order[: self.training_settings.max_persons]])
        return kept

    def _keypoint_losses(
        self, stages: dict[str, Prediction], regions: Regions, instances: list[Instances]
    ) -> dict[str, Tensor]:
        """loss_coarse, loss_decoder0, ...: means over labeled keypoints, in shares of the boxes."""
        num_keypoints = next(iter(stages.values())).points.shape[-2]
        empty = regions.boxes.new_zeros(0, num_keypoints, 3)
        keypoints = [empty] + [each.gt_keypoints.tensor for each in instances if len(each)]
        ground_truth = only_labeled(torch.cat(keypoints))
        labeled = ground_truth[..., 2] > 0  # (P, K)
        with torch.autocast(ground_truth.device.type, enabled=False):
            losses = self.pose_losses(stages, regions.shares(ground_truth[..., :2]))
        return reduce_losses(
            {
                f"loss_{name}": LossTerm(
                    (errors * labeled).sum(), labeled.sum(), self.training_settings.weight
                )
                for name, errors in losses.items()  # (P, K)
            }
        )

    def _with_poses(
        self, result: Prediction, regions: Regions, instances: list[Instances]
    ) -> list[Instances]:
        """Sets pred_keypoints (M, K, 3), in pixels, and scores of each image's instances."""
        confidence = self.scores.keypoint(result.scales)
        keypoints = torch.cat([regions.pixels(result.points), confidence[..., None]], dim=-1)
        for each, poses in zip(instances, keypoints.split(regions.counts), strict=True):
            each.pred_keypoints = poses
            each.scores = self.scores.instance(each.scores, poses[..., 2])
        return instances
