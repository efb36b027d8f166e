"""The model: FCOS whose box branch is a keypoint branch.

Letters: N images, R locations over all levels, P positive locations, M candidates, K keypoints.
"""

from typing import Any

import torch
from detectron2.config import CfgNode, configurable
from detectron2.modeling import META_ARCH_REGISTRY
from detectron2.structures import ImageList, Instances
from torch import Tensor, nn

from directpose.build import model_parts
from directpose.losses import heatmap_loss, heatmap_targets, keypoint_errors, keypoint_weights
from posecore.layers.heatmap_branch import HeatmapBranch
from posecore.layers.precision import full_precision
from posecore.modeling.fcos.decode import boxes_at, select, survivors
from posecore.modeling.fcos.estimator import Dense, FCOSEstimator
from posecore.modeling.fcos.head import FCOSHead
from posecore.modeling.fcos.losses import detection_losses, detection_totals
from posecore.modeling.fcos.queries import Queries
from posecore.modeling.fcos.targets import Positives, keypoint_tensors, make_targets
from posecore.modeling.losses import mean_over_processes
from posecore.structures.boxes import enclosing_boxes


@META_ARCH_REGISTRY.register()
class DirectPose(FCOSEstimator):
    """Direct end-to-end multi-person pose estimation (arXiv 1911.07451).

    Args:
        keypoints: from the maps of the tower "keypoint", locations and queries to (Q, K, 2).
        heatmap: the auxiliary branch of section 3.3, or None.
        heatmap_one_per_cell: one keypoint type per heatmap cell.
        heatmap_weight: of the heatmap loss.
        smooth_keypoints: smooth L1, persons weighted by their keypoints, instead of L1.
        box_scales_keypoints: the factors of the predictor "ltrb" multiply the keypoints too.
        detector: the arguments of :class:`FCOSEstimator`; its head has the towers "cls" and "keypoint" and
            the predictors "cls" and "centerness"; a predictor "ltrb" adds boxes (section 4.2).
    """

    head: FCOSHead

    @configurable
    def __init__(
        self,
        *,
        keypoints: nn.Module,
        heatmap: HeatmapBranch | None,
        heatmap_one_per_cell: bool = False,
        heatmap_weight: float = 4.0,
        smooth_keypoints: bool = False,
        box_scales_keypoints: bool = False,
        **detector: Any,
    ) -> None:
        super().__init__(**detector)
        self.keypoints = keypoints
        self.heatmap = heatmap
        self.heatmap_one_per_cell = heatmap_one_per_cell
        self.heatmap_weight = heatmap_weight
        self.smooth_keypoints = smooth_keypoints
        self.box_scales_keypoints = box_scales_keypoints

    @classmethod
    def from_config(cls, cfg: CfgNode) -> dict[str, Any]:
        return model_parts(cfg)

    def losses(self, images: ImageList, targets: list[Instances]) -> dict[str, Tensor]:
        """loss_cls, loss_centerness and loss_keypoint; loss_box and loss_heatmap where there are such."""
        how = self.how_to_train
        features = self.backbone(images.tensor)
        dense = self.dense(features)
        ground_truth = make_targets(dense.locations, targets, self.skeleton.num_keypoints, how)
        labeled = ground_truth.positives.keypoints[..., 2] > 0
        weights = keypoint_weights(ground_truth.centerness, labeled, count_keypoints=self.smooth_keypoints)
        heatmaps = self._heatmap_targets(features, targets)
        normalizers = mean_over_processes(
            {
                **detection_totals(ground_truth, how),
                "loss_keypoint": weights.sum(),
                "loss_heatmap": heatmaps.sum(),
            },
            device=self.device,
        )
        losses = detection_losses(dense.maps, ground_truth, normalizers, how)
        errors = self._keypoint_errors(dense, ground_truth.positives, labeled)
        losses["loss_keypoint"] = (errors * weights).sum() / normalizers["loss_keypoint"]
        if self.heatmap is not None:
            logits = full_precision(self.heatmap(features[self.heatmap.level]))
            losses["loss_heatmap"] = self.heatmap_weight * heatmap_loss(
                logits, heatmaps, normalizers["loss_heatmap"], alpha=how.focal_alpha, gamma=how.focal_gamma
            )
        return losses

    def predict(self, images: ImageList) -> list[Instances]:
        """Poses by score, class probability times centerness; the keypoints' third value is 1."""
        how = self.how_to_decode
        dense = self.dense(self.backbone(images.tensor))
        locations = dense.locations
        probability = dense.maps["cls"][..., 0].sigmoid()
        scores = probability * dense.maps["centerness"][..., 0].sigmoid()
        candidates = select(probability, scores, locations, how)
        queries = candidates.queries
        points, strides = locations.points[queries.index], locations.strides[queries.index]
        found = points[:, None] + self._offsets(dense, queries) * strides[:, None, None]
        if "ltrb" in dense.maps:
            boxes = boxes_at(dense.maps["ltrb"], locations, queries)
        else:
            boxes = enclosing_boxes(found)
        keypoints = torch.cat([found, torch.ones_like(found[..., :1])], dim=-1)
        parts = (values.split(candidates.counts) for values in (candidates.scores, boxes, keypoints))
        return [self._detections(*part) for part in zip(images.image_sizes, *parts, strict=True)]

    def _offsets(self, dense: Dense, queries: Queries) -> Tensor:
        """(Q, K, 2) keypoints relative to the queries' locations, in cells of their level."""
        offsets = self.keypoints(dense.towers["keypoint"], dense.locations, queries)
        if self.box_scales_keypoints:
            scales: Tensor = self.head.predictors["ltrb"].scales  # type: ignore[assignment]
            offsets = offsets * scales[dense.locations.levels[queries.index], None, None]
        return offsets

    def _keypoint_errors(self, dense: Dense, positives: Positives, labeled: Tensor) -> Tensor:
        """(P,) mean error of the labeled keypoints, in cells."""
        offsets = self._offsets(dense, positives.queries)
        targets = positives.keypoints[..., :2] - positives.points[:, None]
        targets = targets / positives.strides[:, None, None]
        return keypoint_errors(offsets, targets, labeled, smooth=self.smooth_keypoints)

    def _heatmap_targets(self, features: dict[str, Tensor], targets: list[Instances]) -> Tensor:
        """(N, K, H, W) at the level of the heatmap branch; empty without one."""
        if self.heatmap is None:
            return torch.empty(0, device=self.device)
        level = self.heatmap.level
        return heatmap_targets(
            keypoint_tensors(targets, self.skeleton.num_keypoints),
            (features[level].shape[-2], features[level].shape[-1]),
            self.strides[self.in_features.index(level)],
            one_per_cell=self.heatmap_one_per_cell,
        )

    def _detections(
        self, image_size: tuple[int, int], scores: Tensor, boxes: Tensor, keypoints: Tensor
    ) -> Instances:
        """What survives of one image's candidates: (M,) scores, (M, 4) boxes and (M, K, 3) keypoints."""
        kept = survivors(image_size, scores, boxes, self.how_to_decode)
        return Instances(
            image_size,
            pred_boxes=kept.boxes,
            scores=scores[kept.index],
            pred_classes=torch.zeros_like(kept.index),
            pred_keypoints=keypoints[kept.index],
        )
