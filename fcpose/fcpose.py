"""The model :class:`FCPose`: an FCOS detector, keypoint heads generated for each person, and offsets.

A generated head turns the map F, which all persons of an image share, into the heatmaps of its person.
Offsets refine the peaks of these heatmaps.

Source: FCPose (arXiv 2105.14185), section 3.

Letters: N images, R locations, P positive locations, Q of them that train keypoints, M candidates or
detections, K keypoints, H and W the size of the heatmaps.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from functools import partial
from typing import Any

import torch
from detectron2.config import CfgNode, configurable
from detectron2.modeling import META_ARCH_REGISTRY
from detectron2.structures import ImageList, Instances
from torch import Tensor, nn

from fcpose.auxiliary import AuxiliaryHeatmaps, auxiliary_loss, auxiliary_targets
from fcpose.basis import Basis, SharedMaps
from fcpose.losses import HEATMAP_LOSSES, KeypointBatch, KeypointLoss
from fcpose.refinement import REFINEMENTS, coordinate_ranges
from fcpose.sampling import sample_positives
from fcpose.shared_branch import SharedBranch
from posecore.config.options import choice
from posecore.layers.precision import full_precision
from posecore.layers.tower import Tower
from posecore.modeling.estimator import CommonParts, PoseEstimator, make_detections
from posecore.modeling.fcos.decode import clip_boxes
from posecore.modeling.fcos.detector import DensePredictions, FCOSDetector
from posecore.modeling.fcos.head import FCOSHead, box_prediction, centerness_prediction, class_prediction
from posecore.modeling.fcos.locations import SelectedLocations
from posecore.modeling.fcos.targets import Positives
from posecore.modeling.keypoint_network import KeypointNetworks, Peaks
from posecore.modeling.losses import LossTerm, reduce_losses
from posecore.structures.heatmaps import cell_centers, only_labeled
from posecore.structures.instances import keypoint_tensors

# From the peaks of Q persons to the (Q, K) confidences of their keypoints.
KeypointScore = Callable[[Peaks], Tensor]

# The values of MODEL.FCPOSE.KEYPOINT_SCORE.
KEYPOINT_SCORES: dict[str, KeypointScore] = {
    "probability": lambda peaks: peaks.probability,
    "logit": lambda peaks: peaks.logits,
}


@dataclass(frozen=True)
class FCPoseSettings:
    """The settings of FCPose's training and inference.

    Attributes:
        keypoint_losses: name -> the loss and its weight.
        max_positives: largest number of positive locations of a batch that train keypoints.
        auxiliary_weight: weight of each of the two auxiliary losses.
        keypoint_score: confidence of the keypoints, their third value.
    """

    keypoint_losses: Mapping[str, tuple[KeypointLoss, float]]
    max_positives: int
    auxiliary_weight: float
    keypoint_score: KeypointScore


@META_ARCH_REGISTRY.register()
class FCPose(PoseEstimator):
    """Fully convolutional multi-person pose estimation with dynamic convolutions (arXiv 2105.14185).

    Args:
        shared_branch: computes the map F and the offsets.
        keypoint_head: generates keypoint heads at locations and applies them to F.
        auxiliary: predicts heatmaps of all persons together in training, or None.
        settings: the settings of training and inference.
        detector: FCOS with the towers "cls" and "box" and the predictions "cls", "ltrb" and "centerness".
        common: the parts of every model; the backbone computes the levels of a pyramid.
    """

    @configurable
    def __init__(
        self,
        *,
        shared_branch: SharedBranch,
        keypoint_head: KeypointNetworks,
        auxiliary: AuxiliaryHeatmaps | None,
        settings: FCPoseSettings,
        detector: FCOSDetector,
        common: CommonParts,
    ) -> None:
        super().__init__(common)
        self.detector = detector
        self.shared_branch = shared_branch
        self.keypoint_head = keypoint_head
        self.auxiliary = auxiliary
        self.settings = settings

    @classmethod
    def from_config(cls, cfg: CfgNode) -> dict[str, Any]:
        """The constructor's arguments, of MODEL.FCPOSE, MODEL.FCOS and the keys that all models share."""
        fcos, node = cfg.MODEL.FCOS, cfg.MODEL.FCPOSE
        common = CommonParts.from_config(cfg)
        num_keypoints = common.skeleton.num_keypoints
        shapes = common.backbone.output_shape()
        in_channels = shapes[fcos.IN_FEATURES[0]].channels
        stride = shapes[node.IN_FEATURES[0]].stride
        head = FCOSHead(
            towers={
                "cls": Tower(in_channels, fcos.CHANNELS, fcos.NUM_CONVS, fcos.NORM),
                "box": Tower(in_channels, fcos.CHANNELS, fcos.NUM_CONVS, fcos.NORM),
            },
            predictions={
                "cls": class_prediction("cls", fcos.CHANNELS, fcos.PRIOR_PROB),
                "ltrb": box_prediction("box", fcos.CHANNELS, len(fcos.IN_FEATURES)),
                "centerness": centerness_prediction("box", fcos.CHANNELS),
            },
        )
        build_refinement = choice(cfg, "MODEL.FCPOSE.REFINEMENT", REFINEMENTS)
        refinement = build_refinement(cfg, in_channels, num_keypoints, stride)
        heatmap_loss = choice(cfg, "MODEL.FCPOSE.HEATMAP_LOSS", HEATMAP_LOSSES)
        keypoint_losses = {"loss_heatmap": (heatmap_loss, node.HEATMAP_WEIGHT)}
        if refinement.offset_loss is not None:
            keypoint_losses["loss_offset"] = (refinement.offset_loss, node.OFFSET_WEIGHT)
        return {
            "shared_branch": SharedBranch(
                list(node.IN_FEATURES),
                basis=Basis(in_channels, node.CONVS_DIM, len(node.IN_FEATURES), node.NUM_CONVS, node.NORM),
                bases=nn.Conv2d(node.CONVS_DIM, node.CHANNELS, 1),
                offsets=refinement.offsets,
                offset_reader=refinement.offset_reader,
            ),
            "keypoint_head": KeypointNetworks(
                fcos.CHANNELS,
                (node.CHANNELS, *[node.WIDTH] * (node.DEPTH - 1), num_keypoints),
                kernel_size=node.CONTROLLER_KERNEL,
                ranges=coordinate_ranges(cfg),
                stride=stride,
                resize=refinement.resize,
                heatmap_stride=refinement.heatmap_stride,
            ),
            "auxiliary": (
                AuxiliaryHeatmaps(node.CONVS_DIM, num_keypoints, node.NORM) if node.AUXILIARY else None
            ),
            "settings": FCPoseSettings(
                keypoint_losses=keypoint_losses,
                max_positives=node.MAX_POSITIVES,
                auxiliary_weight=node.AUXILIARY_WEIGHT,
                keypoint_score=choice(cfg, "MODEL.FCPOSE.KEYPOINT_SCORE", KEYPOINT_SCORES),
            ),
            "detector": FCOSDetector.from_config(cfg, common.backbone, head),
            "common": common,
        }

    def dense_modules(self) -> list[nn.Module]:
        """The backbone, the head of the detector and the tower of the map F."""
        return [*super().dense_modules(), self.detector.head, self.shared_branch.basis.tower]

    def losses(self, images: ImageList, targets: list[Instances]) -> dict[str, Tensor]:
        """loss_cls, loss_centerness, loss_box, loss_heatmap; also loss_offset and auxiliary ones if any."""
        features = self.backbone(images.tensor)
        predictions = self.detector(features)
        shared = self.shared_branch(features)
        detection_targets = self.detector.targets(predictions, targets, self.skeleton.num_keypoints)
        people = [only_labeled(person) for person in keypoint_tensors(targets, self.skeleton.num_keypoints)]
        terms = self.detector.loss_terms(predictions, detection_targets)
        batch = self._keypoint_batch(predictions, shared, detection_targets.positives, people)
        for name, (loss, weight) in self.settings.keypoint_losses.items():
            terms[name] = replace(loss(batch), weight=weight)
        if self.auxiliary is not None:
            terms |= self._auxiliary_terms(self.auxiliary, shared, people)
        return reduce_losses(terms)

    def predict(self, images: ImageList) -> list[Instances]:
        """The poses of each image, with the root of class probability times centerness as score.

        Non-maximum suppression acts on the boxes, before any keypoint is computed.
        """
        features = self.backbone(images.tensor)
        predictions = self.detector(features)
        shared = self.shared_branch(features)
        probability, scores = detection_scores(predictions)
        candidates = self.detector.select(predictions, probability, scores)
        boxes = predictions.boxes_at(candidates.locations)
        results = []
        rows = candidates.locations.by_image(len(images))
        for image, (size, own) in enumerate(zip(images.image_sizes, rows, strict=True)):
            kept = self.detector.suppress(boxes[own], candidates.scores[own])
            # A box that lies in the padding beside the image is not a person of the image.
            kept = kept[clip_boxes(boxes[own][kept], size).nonempty()]
            results.append(
                make_detections(
                    size,
                    clip_boxes(boxes[own][kept], size),
                    candidates.scores[own][kept],
                    self._keypoints(predictions, shared, candidates.locations[own][kept], image),
                )
            )
        return results

    def _keypoint_batch(
        self, predictions: DensePredictions, shared: SharedMaps, positives: Positives, people: list[Tensor]
    ) -> KeypointBatch:
        """The predictions and the ground truth of the positive locations that train keypoints."""
        at = positives.locations.images, positives.locations.index
        confidence = predictions.probability("cls")[at] * predictions.probability("centerness")[at]
        sample = sample_positives(positives.persons, confidence.detach(), limit=self.settings.max_positives)
        selected = positives.locations[sample.index]
        heads = self.keypoint_head.generate(predictions.towers["box"], predictions.locations, selected)
        heatmaps = [  # the positives are sorted by image, and so are the selected ones
            self.keypoint_head(bases, heads[own])
            for bases, own in zip(shared.bases, selected.by_image(len(shared.bases)), strict=True)
        ]
        return KeypointBatch(
            logits=torch.cat(heatmaps),
            weights=sample.weights,
            images=selected.images,
            boxes=positives.boxes[sample.index],
            keypoints=only_labeled(positives.keypoints[sample.index]),
            offsets=shared.offsets,
            read_offsets=partial(self.shared_branch.offset_reader, shared, predictions, selected),
            people=people,
            stride=self.keypoint_head.heatmap_stride,
        )

    def _auxiliary_terms(
        self, auxiliary: AuxiliaryHeatmaps, shared: SharedMaps, people: list[Tensor]
    ) -> dict[str, LossTerm]:
        """loss_auxiliary_coarse and loss_auxiliary_fine."""
        logits = auxiliary(shared.merged)
        height, width = shared.merged.shape[2:]
        heatmaps = auxiliary_targets(people, (height, width), self.keypoint_head.stride)
        pairs = {"coarse": (logits.coarse, heatmaps.coarse), "fine": (logits.fine, heatmaps.fine)}
        return {
            f"loss_auxiliary_{name}": auxiliary_loss(
                full_precision(own), target, self.settings.auxiliary_weight
            )
            for name, (own, target) in pairs.items()
        }

    def _keypoints(
        self, predictions: DensePredictions, shared: SharedMaps, selected: SelectedLocations, image: int
    ) -> Tensor:
        """(M, K, 3) keypoints of the M detections of one image: x and y in pixels, and confidence."""
        heads = self.keypoint_head.generate(predictions.towers["box"], predictions.locations, selected)
        peaks = self.keypoint_head.peaks(shared.bases[image], heads)
        return self.refined_keypoints(predictions, shared, selected, peaks)

    def refined_keypoints(
        self, predictions: DensePredictions, shared: SharedMaps, selected: SelectedLocations, peaks: Peaks
    ) -> Tensor:
        """(Q, K, 3) keypoints, x and y in pixels and confidence, from the peaks of Q selected locations."""
        centers = cell_centers(peaks.cells, shared.offsets.shape[4], self.keypoint_head.heatmap_stride)
        read_offsets = self.shared_branch.offset_reader
        offsets = read_offsets(shared, predictions, selected, peaks.cells[..., None])[:, :, 0]
        return torch.cat([centers + offsets, self.settings.keypoint_score(peaks)[..., None]], dim=-1)


def detection_scores(predictions: DensePredictions) -> tuple[Tensor, Tensor]:
    """(N, R) class probability, and (N, R) score: the root of class probability times centerness."""
    probability = predictions.probability("cls")
    return probability, (probability * predictions.probability("centerness")).sqrt()
