"""The model: FCOS, a keypoint network generated at every location, and offsets that refine its peaks.

Letters: N images, R locations over all levels, P positive locations, M candidates, K keypoints, H and W the
size of the keypoint features.
"""

from typing import Any

import torch
from detectron2.config import CfgNode, configurable
from detectron2.modeling import META_ARCH_REGISTRY
from detectron2.structures import ImageList, Instances
from torch import Tensor

from inspose.branches import DiskOffsets, KeypointFeatures
from inspose.build import model_parts
from inspose.disk import disk_targets, offset_errors
from inspose.heatmaps import heatmap_errors, heatmap_targets
from posecore.layers.heatmap_branch import HeatmapBranch
from posecore.layers.precision import full_precision
from posecore.modeling.fcos.decode import boxes_at, select, survivors
from posecore.modeling.fcos.estimator import Dense, FCOSEstimator
from posecore.modeling.fcos.losses import detection_losses, detection_totals
from posecore.modeling.fcos.targets import Positives, keypoint_tensors, make_targets
from posecore.modeling.keypoint_network import KeypointNetworks, PeakCells
from posecore.modeling.losses import Term, mean_over_processes
from posecore.structures.boxes import enclosing_boxes
from posecore.structures.heatmaps import cell_centers, only_labeled, refined_points


@META_ARCH_REGISTRY.register()
class InsPose(FCOSEstimator):
    """Instance-aware networks for single-stage multi-person pose estimation (arXiv 2107.08982).

    Args:
        level: name of the level that the branches read.
        keypoint_features: from that level to the map that the networks read.
        keypoint_networks: generates networks at locations and applies them to that map.
        disk_offsets: from that level to offsets of all cells; or None, then keypoints are centers of cells.
        disk_radius: cells around a keypoint that train offsets.
        heatmap: heatmaps of all persons together, in training; or None.
        detector: the arguments of :class:`FCOSEstimator`; its head has the towers "cls" and "controller" and
            the predictor "cls"; a predictor "ltrb" adds boxes.
    """

    @configurable
    def __init__(
        self,
        *,
        level: str,
        keypoint_features: KeypointFeatures,
        keypoint_networks: KeypointNetworks,
        disk_offsets: DiskOffsets | None,
        disk_radius: float = 1.0,
        heatmap: HeatmapBranch | None,
        **detector: Any,
    ) -> None:
        super().__init__(**detector)
        self.level = level
        self.keypoint_features = keypoint_features
        self.keypoint_networks = keypoint_networks
        self.disk_offsets = disk_offsets
        self.disk_radius = disk_radius
        self.heatmap = heatmap

    @classmethod
    def from_config(cls, cfg: CfgNode) -> dict[str, Any]:
        return model_parts(cfg)

    def losses(self, images: ImageList, targets: list[Instances]) -> dict[str, Tensor]:
        """loss_cls and loss_keypoint; loss_disk_offset, loss_heatmap and loss_box where there are such.

        Their sum is equation 5.
        """
        how, num_keypoints = self.how_to_train, self.skeleton.num_keypoints
        features = self.backbone(images.tensor)
        dense = self.dense(features)
        ground_truth = make_targets(dense.locations, targets, num_keypoints, how)
        people = [only_labeled(persons) for persons in keypoint_tensors(targets, num_keypoints)]
        boxes = [target.gt_boxes.tensor for target in targets]
        feature = features[self.level]
        terms = {"loss_keypoint": self._keypoint_term(dense, feature, ground_truth.positives)}
        if self.disk_offsets is not None:
            terms["loss_disk_offset"] = self._offset_term(full_precision(self.disk_offsets(feature)), people)
        if self.heatmap is not None:
            terms["loss_heatmap"] = self._heatmap_term(full_precision(self.heatmap(feature)), people, boxes)
        normalizers = mean_over_processes(
            {**detection_totals(ground_truth, how), **{name: term.count for name, term in terms.items()}},
            device=self.device,
        )
        losses = detection_losses(dense.maps, ground_truth, normalizers, how)
        return losses | {name: term.total / normalizers[name] for name, term in terms.items()}

    def predict(self, images: ImageList) -> list[Instances]:
        """Poses by score, the class probability.

        Suppression follows when all candidates are placed, and looks at the rectangles around their
        keypoints, or at their boxes if there are such. A keypoint's third value is the probability of its
        cell.
        """
        how = self.how_to_decode
        features = self.backbone(images.tensor)
        dense = self.dense(features)
        shared = self.keypoint_features(features[self.level])
        offsets = self._offsets(features[self.level])
        probability = dense.maps["cls"][..., 0].sigmoid()
        candidates = select(probability, probability, dense.locations, how)
        networks = self.keypoint_networks.generate(
            dense.towers["controller"], dense.locations, candidates.queries
        )
        results = []
        for image, (size, here) in enumerate(
            zip(images.image_sizes, candidates.queries.in_image(len(shared)), strict=True)
        ):
            scores, own = candidates.scores[here], networks[here]
            points = self._points(self.keypoint_networks.peak_cells(shared[image], own), offsets[image])
            boxes = enclosing_boxes(points)
            if "ltrb" in dense.maps:
                boxes = boxes_at(dense.maps["ltrb"], dense.locations, candidates.queries)[here]
            kept = survivors(size, scores, boxes, how)
            # Once more for the few that are left: probabilities take longer than peaks.
            peaks = self.keypoint_networks.peaks(shared[image], own[kept.index])
            results.append(
                Instances(
                    size,
                    pred_boxes=kept.boxes,
                    scores=scores[kept.index],
                    pred_classes=torch.zeros_like(kept.index),
                    pred_keypoints=torch.cat([points[kept.index], peaks.probability[..., None]], dim=-1),
                )
            )
        return results

    def _keypoint_term(self, dense: Dense, feature: Tensor, positives: Positives) -> Term:
        """Cross-entropy of the keypoints' cells, the mean over each positive's labeled ones (equation 4)."""
        shared = self.keypoint_features(feature)
        networks = self.keypoint_networks.generate(
            dense.towers["controller"], dense.locations, positives.queries
        )
        keypoints = only_labeled(positives.keypoints)
        losses = [  # positives come image by image
            self.keypoint_networks.cross_entropy(own, networks[here], keypoints[here])
            for own, here in zip(shared, positives.queries.in_image(len(shared)), strict=True)
        ]
        labeled = keypoints[..., 2] > 0
        errors = (torch.cat(losses) * labeled).sum(dim=1) / labeled.sum(dim=1).clamp(min=1)
        return Term(errors.sum(), errors.new_tensor(len(positives)))

    def _offset_term(self, offsets: Tensor, people: list[Tensor]) -> Term:
        """Absolute errors of (N, K, 2, H, W) offsets in the disks around all persons' keypoints, in cells."""
        stride = self.keypoint_networks.heatmap_stride
        ground_truth = disk_targets(people, (offsets.shape[3], offsets.shape[4]), stride, self.disk_radius)
        return Term(offset_errors(offsets, ground_truth, stride).sum(), offsets.new_tensor(len(ground_truth)))

    def _heatmap_term(self, logits: Tensor, people: list[Tensor], boxes: list[Tensor]) -> Term:
        """The auxiliary task: (N, K, H, W) heatmaps that do not know persons."""
        size = (logits.shape[2], logits.shape[3])
        targets = heatmap_targets(people, boxes, size, self.keypoint_networks.stride)
        return Term(heatmap_errors(logits, targets).sum(), (targets == 1).sum())

    def _offsets(self, feature: Tensor) -> list[Tensor | None]:
        """Per image (K, 2, H, W) in pixels; nothing without such a branch."""
        if self.disk_offsets is None:
            return [None] * len(feature)
        return list(full_precision(self.disk_offsets(feature)))

    def _points(self, peaks: PeakCells, offsets: Tensor | None) -> Tensor:
        """(M, K, 2) keypoints in pixels."""
        stride = self.keypoint_networks.heatmap_stride
        if offsets is None:
            return cell_centers(peaks.cells, peaks.width, stride)
        return refined_points(peaks.cells, offsets, stride)
