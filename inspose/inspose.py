"""The model :class:`InsPose`: an FCOS detector, keypoint networks generated for each person, and offsets.

A generated network (KP-Net) turns the keypoint features, which all persons of an image share, into the
heatmaps of its person. Offsets refine the peaks of these heatmaps.

Source: InsPose (arXiv 2107.08982), section 3.

Letters: N images, R locations over all levels, P positive locations, M candidates, K keypoints, H and W the
size of the keypoint features.
"""

from collections.abc import Sequence
from typing import Any

import torch
from detectron2.config import CfgNode, configurable
from detectron2.modeling import META_ARCH_REGISTRY
from detectron2.structures import ImageList, Instances
from torch import Tensor, nn

from inspose.base import InstanceAwareEstimator
from inspose.disk import DiskOffsets, disk_targets, offset_errors
from inspose.heatmaps import heatmap_errors, heatmap_targets
from inspose.keypoint_features import KeypointFeatures
from posecore.config.options import choice
from posecore.layers.precision import full_precision
from posecore.layers.tower import Tower
from posecore.modeling.estimator import CommonParts, make_detections
from posecore.modeling.fcos.decode import clip_boxes
from posecore.modeling.fcos.detector import DensePredictions, FCOSDetector
from posecore.modeling.fcos.head import FCOSHead, box_prediction, class_prediction
from posecore.modeling.fcos.targets import Positives
from posecore.modeling.heatmap_branch import HeatmapBranch
from posecore.modeling.keypoint_network import GeneratedNetworks, KeypointNetworks, PeakCells
from posecore.modeling.losses import LossTerm, reduce_losses
from posecore.structures.boxes import enclosing_boxes
from posecore.structures.heatmaps import cell_centers, only_labeled, refined_points
from posecore.structures.instances import keypoint_tensors

# Kernel size of the controller, the convolution that generates KP-Nets.
CONTROLLER_KERNEL = 3
# Number of cells of the location's level in one unit of the relative coordinates.
RANGE = 8
# Initial value of the sigmoid of the auxiliary heatmaps.
HEATMAP_PRIOR = 0.1


@META_ARCH_REGISTRY.register()
class InsPose(InstanceAwareEstimator):
    """Instance-aware networks for single-stage multi-person pose estimation (arXiv 2107.08982).

    Args:
        keypoint_features: computes the map that the networks read.
        keypoint_networks: generates networks at locations and applies them to that map.
        disk_offsets: computes the offsets of all cells; None if keypoints are the centers of cells.
        heatmap_branch: predicts heatmaps of all persons together in training, or None.
        detector: FCOS with the towers "cls" and "controller" and the prediction "cls"; a prediction "ltrb"
            adds boxes, which non-maximum suppression then acts on.
        common: the parts of every model; the backbone computes the levels of a pyramid.
    """

    @configurable
    def __init__(
        self,
        *,
        keypoint_features: KeypointFeatures,
        keypoint_networks: KeypointNetworks,
        disk_offsets: DiskOffsets | None,
        heatmap_branch: HeatmapBranch | None,
        detector: FCOSDetector,
        common: CommonParts,
    ) -> None:
        super().__init__(detector, keypoint_features, keypoint_networks, common)
        self.disk_offsets = disk_offsets
        self.heatmap_branch = heatmap_branch

    @classmethod
    def from_config(cls, cfg: CfgNode) -> dict[str, Any]:
        """The constructor's arguments, of MODEL.INSPOSE, MODEL.FCOS and the keys that all models share."""
        fcos, node = cfg.MODEL.FCOS, cfg.MODEL.INSPOSE
        common = CommonParts.from_config(cfg)
        num_keypoints = common.skeleton.num_keypoints
        shapes = common.backbone.output_shape()
        in_channels = shapes[fcos.IN_FEATURES[0]].channels
        stride = shapes[node.IN_FEATURE].stride
        predictions = {"cls": class_prediction("cls", fcos.CHANNELS, fcos.PRIOR_PROB)}
        if node.BOXES:
            predictions["ltrb"] = box_prediction("controller", fcos.CHANNELS, len(fcos.IN_FEATURES))
        head = FCOSHead(
            towers={
                "cls": Tower(in_channels, fcos.CHANNELS, fcos.NUM_CONVS, fcos.NORM),
                "controller": Tower(in_channels, fcos.CHANNELS, fcos.NUM_CONVS, fcos.NORM),
            },
            predictions=predictions,
        )
        return {
            "keypoint_features": KeypointFeatures(
                node.IN_FEATURE, in_channels, node.CONVS_DIM, node.NUM_CONVS, node.CHANNELS, node.NORM
            ),
            "keypoint_networks": KeypointNetworks(
                fcos.CHANNELS,
                network_widths(cfg, num_keypoints),
                kernel_size=CONTROLLER_KERNEL,
                ranges=[RANGE * shapes[name].stride for name in fcos.IN_FEATURES],
                stride=stride,
                resize=_resize(cfg, stride),
                heatmap_stride=node.STRIDE,
            ),
            "disk_offsets": (
                DiskOffsets(
                    in_channels,
                    node.DISK_CHANNELS,
                    num_keypoints,
                    norm=node.NORM,
                    resize=_resize(cfg, stride),
                    stride=node.STRIDE,
                    radius=node.DISK_RADIUS,
                )
                if node.DISK_OFFSET
                else None
            ),
            "heatmap_branch": (
                HeatmapBranch(
                    node.IN_FEATURE,
                    in_channels,
                    node.HEATMAP_CHANNELS,
                    num_keypoints,
                    norm=node.NORM,
                    prior_prob=HEATMAP_PRIOR,
                )
                if node.HEATMAP
                else None
            ),
            "detector": FCOSDetector.from_config(cfg, common.backbone, head),
            "common": common,
        }

    def losses(self, images: ImageList, targets: list[Instances]) -> dict[str, Tensor]:
        """loss_cls and loss_keypoint; also loss_box, loss_disk_offset and loss_heatmap with these branches.

        Their sum is equation 5.
        """
        features = self.backbone(images.tensor)
        predictions = self.detector(features)
        detection_targets = self.detector.targets(predictions, targets, self.skeleton.num_keypoints)
        people = [only_labeled(persons) for persons in keypoint_tensors(targets, self.skeleton.num_keypoints)]
        feature = features[self.keypoint_features.level]
        terms = self.detector.loss_terms(predictions, detection_targets)
        terms["loss_keypoint"] = self._keypoint_term(predictions, feature, detection_targets.positives)
        if self.disk_offsets is not None:
            terms["loss_disk_offset"] = self._offset_term(self.disk_offsets, feature, people)
        if self.heatmap_branch is not None:
            logits = full_precision(self.heatmap_branch(feature))
            boxes = [target.gt_boxes.tensor for target in targets]
            terms["loss_heatmap"] = self._heatmap_term(logits, people, boxes)
        return reduce_losses(terms)

    def predict(self, images: ImageList) -> list[Instances]:
        """The poses of each image, with the class probability as score.

        Non-maximum suppression acts on the decoded candidates: on the boxes that enclose their keypoints, or
        on their predicted boxes if there are any. The third value of a keypoint is the probability of its
        cell.
        """
        features = self.backbone(images.tensor)
        predictions = self.detector(features)
        shared = self.keypoint_features(features[self.keypoint_features.level])
        offsets = self._offsets(features[self.keypoint_features.level])
        probability = predictions.probability("cls")
        candidates = self.detector.select(predictions, probability, probability)
        networks = self.keypoint_networks.generate(
            predictions.towers["controller"], predictions.locations, candidates.locations
        )
        results = []
        rows = candidates.locations.by_image(len(images))
        for image, (size, own) in enumerate(zip(images.image_sizes, rows, strict=True)):
            scores = candidates.scores[own]
            points = self._points(
                self.keypoint_networks.peak_cells(shared[image], networks[own]), offsets[image]
            )
            if "ltrb" in predictions.maps:
                boxes = clip_boxes(predictions.boxes_at(candidates.locations[own]), size)
            else:
                boxes = clip_boxes(enclosing_boxes(points), size)
            kept = self.detector.suppress(boxes.tensor, scores)
            # The peaks of the few kept candidates are computed again, with their probabilities, which take
            # longer than cells.
            peaks = self.keypoint_networks.peaks(shared[image], networks[own][kept])
            keypoints = torch.cat([points[kept], peaks.probability[..., None]], dim=-1)
            results.append(make_detections(size, boxes[kept], scores[kept], keypoints))
        return results

    def _keypoint_term(
        self, predictions: DensePredictions, feature: Tensor, positives: Positives
    ) -> LossTerm:
        """Cross-entropy of the keypoints' cells, averaged over the labeled keypoints (equation 4)."""
        networks = self.keypoint_networks.generate(
            predictions.towers["controller"], predictions.locations, positives.locations
        )
        keypoints = only_labeled(positives.keypoints)
        errors = batch_cross_entropy(
            self.keypoint_networks,
            self.keypoint_features(feature),
            networks,
            keypoints,
            positives.locations.by_image(len(feature)),
        )
        labeled = keypoints[..., 2] > 0
        means = (errors * labeled).sum(dim=1) / labeled.sum(dim=1).clamp(min=1)
        return LossTerm(means.sum(), len(positives))

    def _offset_term(self, disk_offsets: DiskOffsets, feature: Tensor, people: list[Tensor]) -> LossTerm:
        """Absolute errors of the offsets in cells, in the disks around all persons' keypoints."""
        offsets = full_precision(disk_offsets(feature))
        size = (offsets.shape[3], offsets.shape[4])
        targets = disk_targets(people, size, disk_offsets.stride, disk_offsets.radius)
        return LossTerm(offset_errors(offsets, targets, disk_offsets.stride).sum(), len(targets))

    def _heatmap_term(self, logits: Tensor, people: list[Tensor], boxes: list[Tensor]) -> LossTerm:
        """Errors of (N, K, H, W) auxiliary heatmaps, normalized by the number of peaks of the targets."""
        size = (logits.shape[2], logits.shape[3])
        targets = heatmap_targets(people, boxes, size, self.keypoint_networks.stride)
        return LossTerm(heatmap_errors(logits, targets).sum(), (targets == 1).sum())

    def _offsets(self, feature: Tensor) -> list[Tensor | None]:
        """(K, 2, H, W) offsets of each image, in pixels; None if there is no branch of offsets."""
        if self.disk_offsets is None:
            return [None] * len(feature)
        return list(full_precision(self.disk_offsets(feature)))

    def _points(self, peaks: PeakCells, offsets: Tensor | None) -> Tensor:
        """(M, K, 2) keypoints in pixels, from their peaks and the offsets of their image."""
        stride = self.keypoint_networks.heatmap_stride
        if offsets is None:
            return cell_centers(peaks.cells, peaks.width, stride)
        return refined_points(peaks.cells, offsets, stride)


def network_widths(cfg: CfgNode, num_keypoints: int) -> tuple[int, ...]:
    """The channels of the shared map, of the hidden layers of a KP-Net, and of its output (K)."""
    node = cfg.MODEL.INSPOSE
    return (node.CHANNELS, *[node.WIDTH] * (node.DEPTH - 1), num_keypoints)


def batch_cross_entropy(
    keypoint_networks: KeypointNetworks,
    shared: Tensor,
    networks: GeneratedNetworks,
    keypoints: Tensor,
    rows: Sequence[slice],
) -> Tensor:
    """The cross-entropy of generated networks on the shared maps of a batch.

    Args:
        keypoint_networks: applies the networks.
        shared: (N, C, H, W) shared maps.
        networks: P networks, sorted by image.
        keypoints: (P, K, 3) in pixels, finite.
        rows: the rows of each image among the P networks.

    Returns:
        (P, K), see :meth:`KeypointNetworks.cross_entropy`.
    """
    return torch.cat(
        [
            keypoint_networks.cross_entropy(own, networks[here], keypoints[here])
            for own, here in zip(shared, rows, strict=True)
        ]
    )


def _resize(cfg: CfgNode, stride: int) -> nn.Module:
    """A module that resizes maps from the stride of the level to MODEL.INSPOSE.STRIDE."""
    strides = (2 * stride, stride, stride // 2, stride // 4)
    factor = choice(cfg, "MODEL.INSPOSE.STRIDE", {other: stride / other for other in strides})
    if factor == 1:
        return nn.Identity()
    return nn.Upsample(scale_factor=factor, mode="bilinear", align_corners=False)
