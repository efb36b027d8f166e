"""The model: FCOS whose box branch is a keypoint branch.

Letters: N images, R locations over all levels, P positive locations, M candidates, K keypoints.
"""

from typing import Any

import torch
import torch.nn.functional as F
from detectron2.config import CfgNode, configurable
from detectron2.modeling import META_ARCH_REGISTRY, Backbone
from detectron2.structures import Boxes, ImageList, Instances
from torch import Tensor, nn

from directpose.build import model_parts
from directpose.heatmap import HeatmapBranch
from directpose.how import Decoding, Training
from directpose.losses import heatmap_loss, heatmap_targets, keypoint_errors, keypoint_weights
from posecore.boxes import enclosing_boxes
from posecore.estimator import PoseEstimator
from posecore.fcos.assign import assign
from posecore.fcos.decode import select, suppress
from posecore.fcos.head import FCOSHead, FCOSOutput
from posecore.fcos.locations import Locations, make_locations
from posecore.fcos.losses import box_loss, centerness_loss, classification_loss, mean_over_processes
from posecore.fcos.ltrb import box_to_ltrb, centerness, ltrb_to_box
from posecore.fcos.queries import Queries
from posecore.fcos.targets import Positives, gather_positives, keypoint_tensors
from posecore.keypoints import Skeleton
from posecore.layers.precision import full_precision


@META_ARCH_REGISTRY.register()
class DirectPose(PoseEstimator):
    """Direct end-to-end multi-person pose estimation (arXiv 1911.07451).

    Args:
        backbone: from pictures to the named maps of ``in_features``.
        in_features: names of the levels, finest first.
        skeleton: which keypoints a person has.
        head: with the towers "cls" and "keypoint" and the predictors "cls" and "centerness"; a
            predictor "ltrb", distances in cells, adds boxes (section 4.2).
        keypoints: from the maps of the tower "keypoint", locations and queries to (Q, K, 2).
        heatmap: the auxiliary branch of section 3.3, or None.
        box_scales_keypoints: the factors of the predictor "ltrb" multiply the keypoints too.
        training: targets and losses.
        decoding: detections.
        pixel_mean, pixel_std: see :class:`PoseEstimator`.
    """

    @configurable
    def __init__(
        self,
        *,
        backbone: Backbone,
        in_features: list[str],
        skeleton: Skeleton,
        head: FCOSHead,
        keypoints: nn.Module,
        heatmap: HeatmapBranch | None,
        box_scales_keypoints: bool = False,
        training: Training,
        decoding: Decoding,
        pixel_mean: tuple[float, ...],
        pixel_std: tuple[float, ...],
    ) -> None:
        super().__init__(backbone=backbone, skeleton=skeleton, pixel_mean=pixel_mean, pixel_std=pixel_std)
        self.in_features = in_features
        self.strides = [backbone.output_shape()[name].stride for name in in_features]
        self.head = head
        self.keypoints = keypoints
        self.heatmap = heatmap
        self.box_scales_keypoints = box_scales_keypoints
        self.how_to_train = training
        self.how_to_decode = decoding

    @classmethod
    def from_config(cls, cfg: CfgNode) -> dict[str, Any]:
        return model_parts(cfg)

    def losses(self, images: ImageList, targets: list[Instances]) -> dict[str, Tensor]:
        """loss_cls, loss_centerness and loss_keypoint; loss_box and loss_heatmap where there are such."""
        how = self.how_to_train
        features = self.backbone(images.tensor)
        output, locations = self._dense(features)
        matched = torch.stack(
            [
                assign(locations, target.gt_boxes.tensor, radius=how.center_radius, ranges=how.size_ranges)
                for target in targets
            ]
        )
        positives = gather_positives(matched, locations, targets, self.skeleton.num_keypoints)
        ltrb = box_to_ltrb(positives.points, positives.boxes)
        middle = centerness(ltrb)
        labelled = positives.keypoints[..., 2] > 0
        weights = keypoint_weights(middle, labelled, count_keypoints=how.smooth_keypoints)
        heatmaps = self._heatmap_targets(features, targets)
        divisors = mean_over_processes(
            {
                "cls": len(positives) + how.count_images * len(targets),
                "centerness": len(positives),
                "keypoint": weights.sum(),
                "box": middle.sum(),
                "heatmap": heatmaps.sum(),
            },
            device=self.device,
        )

        at = positives.queries.images, positives.queries.index
        focal = {"alpha": how.focal_alpha, "gamma": how.focal_gamma}
        errors = self._keypoint_errors(output, locations, positives, labelled)
        maps = {name: full_precision(values) for name, values in output.maps.items()}
        losses = {
            "loss_cls": classification_loss(maps["cls"], matched >= 0, divisors["cls"], **focal),
            "loss_centerness": centerness_loss(maps["centerness"][at][:, 0], middle, divisors["centerness"]),
            "loss_keypoint": (errors * weights).sum() / divisors["keypoint"],
        }
        if "ltrb" in maps:
            cells = ltrb / positives.strides[:, None]
            losses["loss_box"] = box_loss(
                F.relu(maps["ltrb"][at]), cells, middle, divisors["box"], smoothing=how.giou_smoothing
            )
        if self.heatmap is not None:
            logits = full_precision(self.heatmap(features[self.heatmap.level]))
            loss = heatmap_loss(logits, heatmaps, divisors["heatmap"], **focal)
            losses["loss_heatmap"] = how.heatmap_weight * loss
        return losses

    def predict(self, images: ImageList) -> list[Instances]:
        """Poses by score, class probability times centerness; the keypoints' third value is 1."""
        how = self.how_to_decode
        output, locations = self._dense(self.backbone(images.tensor))
        probability = full_precision(output.maps["cls"][..., 0]).sigmoid()
        scores = probability * full_precision(output.maps["centerness"][..., 0]).sigmoid()
        candidates = select(
            probability, scores, locations, threshold=how.score_thresh, topk_per_level=how.topk_per_level
        )
        queries = candidates.queries
        points, strides = locations.points[queries.index], locations.strides[queries.index]
        offsets = self._offsets(output, locations, queries)
        keypoints = points[:, None] + offsets * strides[:, None, None]
        boxes = enclosing_boxes(keypoints)
        if "ltrb" in output.maps:
            cells = F.relu(full_precision(output.maps["ltrb"][queries.images, queries.index]))
            boxes = ltrb_to_box(points, cells * strides[:, None])
        parts = (values.split(candidates.counts) for values in (candidates.scores, boxes, keypoints))
        return [self._detections(*part) for part in zip(images.image_sizes, *parts, strict=True)]

    def _dense(self, features: dict[str, Tensor]) -> tuple[FCOSOutput, Locations]:
        maps = [features[name] for name in self.in_features]
        sizes = [(level.shape[-2], level.shape[-1]) for level in maps]
        return self.head(maps), make_locations(sizes, self.strides, self.device)

    def _offsets(self, output: FCOSOutput, locations: Locations, queries: Queries) -> Tensor:
        """(Q, K, 2) keypoints relative to the queries' locations, in cells of their level."""
        offsets = self.keypoints(output.towers["keypoint"], locations, queries)
        if self.box_scales_keypoints:
            scales: Tensor = self.head.predictors["ltrb"].scales  # type: ignore[assignment]
            offsets = offsets * scales[locations.levels[queries.index], None, None]
        return offsets

    def _keypoint_errors(
        self, output: FCOSOutput, locations: Locations, positives: Positives, labelled: Tensor
    ) -> Tensor:
        """(P,) mean error of the labelled keypoints, in cells."""
        offsets = self._offsets(output, locations, positives.queries)
        targets = positives.keypoints[..., :2] - positives.points[:, None]
        targets = targets / positives.strides[:, None, None]
        return keypoint_errors(offsets, targets, labelled, smooth=self.how_to_train.smooth_keypoints)

    def _heatmap_targets(self, features: dict[str, Tensor], targets: list[Instances]) -> Tensor:
        """(N, K, H, W) at the level of the heatmap branch; empty without one."""
        if self.heatmap is None:
            return torch.empty(0, device=self.device)
        level = self.heatmap.level
        return heatmap_targets(
            keypoint_tensors(targets, self.skeleton.num_keypoints),
            (features[level].shape[-2], features[level].shape[-1]),
            self.strides[self.in_features.index(level)],
            one_per_cell=self.how_to_train.heatmap_one_per_cell,
        )

    def _detections(
        self, image_size: tuple[int, int], scores: Tensor, boxes: Tensor, keypoints: Tensor
    ) -> Instances:
        """What survives of one picture's candidates: (M,) scores, (M, 4) boxes and (M, K, 2) keypoints."""
        clipped = Boxes(boxes)
        clipped.clip(image_size)
        how = self.how_to_decode
        kept = suppress(clipped.tensor, scores, threshold=how.nms_thresh, limit=how.limit)
        return Instances(
            image_size,
            pred_boxes=clipped[kept],
            scores=scores[kept],
            pred_classes=torch.zeros_like(kept),
            pred_keypoints=torch.cat([keypoints, torch.ones_like(keypoints[..., :1])], dim=-1)[kept],
        )
