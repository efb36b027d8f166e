"""The model of the official code of InsPose: :class:`InsPoseOfficial`.

Beyond the model of the paper, it regresses keypoints at every location. Deformable convolutions sample
features at them, and non-maximum suppression acts on their boxes.

Letters: N images, R locations over all levels, P positive locations, Q selected locations, M candidates, K
keypoints, H and W the size of the keypoint features.
"""

from typing import Any

import torch
from detectron2.config import CfgNode, configurable
from detectron2.modeling import META_ARCH_REGISTRY
from detectron2.structures import Boxes, ImageList, Instances
from torch import Tensor, nn

from inspose.base import InstanceAwareEstimator
from inspose.disk import offset_errors
from inspose.heatmaps import heatmap_errors, heatmap_targets
from inspose.inspose import CONTROLLER_KERNEL, HEATMAP_PRIOR, RANGE, batch_cross_entropy, network_widths
from inspose.keypoint_features import KeypointFeatures
from inspose.official.head import StarHead
from inspose.official.losses import (
    pose_quality,
    regression_errors,
    square_targets,
    tag_errors,
    varifocal_errors,
)
from inspose.official.star import Steering, tap_indices
from inspose.official.trunk import FACTOR, PixelMaps, PixelTrunk
from posecore.layers.precision import full_precision
from posecore.modeling.estimator import CommonParts, make_detections
from posecore.modeling.fcos.decode import soft_suppress
from posecore.modeling.fcos.detector import DensePredictions, FCOSDetector
from posecore.modeling.fcos.locations import SelectedLocations
from posecore.modeling.fcos.losses import count_positives_and_images
from posecore.modeling.fcos.targets import DetectionTargets
from posecore.modeling.keypoint_network import KeypointNetworks
from posecore.modeling.losses import LossTerm, reduce_losses
from posecore.structures.boxes import AREA_OF_BOX, enclosing_boxes
from posecore.structures.heatmaps import only_labeled, refined_points
from posecore.structures.instances import keypoint_tensors

# Score below which Soft-NMS drops a pose.
MIN_SCORE = 0.001


@META_ARCH_REGISTRY.register()
class InsPoseOfficial(InstanceAwareEstimator):
    """InsPose as in its official code (opera), for the official checkpoint.

    Args:
        trunk: predicts offsets, heatmaps and tags.
        keypoint_features: computes the map that the networks read.
        keypoint_networks: generates networks at locations and applies them to that map.
        detector: FCOS with the predictions "cls" and "keypoints" and the tower "controller".
        common: the parts of every model; the backbone computes the levels of a pyramid.
    """

    sigmas: Tensor

    @configurable
    def __init__(
        self,
        *,
        trunk: PixelTrunk,
        keypoint_features: KeypointFeatures,
        keypoint_networks: KeypointNetworks,
        detector: FCOSDetector,
        common: CommonParts,
    ) -> None:
        super().__init__(detector, keypoint_features, keypoint_networks, common)
        self.trunk = trunk
        self.enlarge = nn.Upsample(scale_factor=FACTOR, mode="bicubic", align_corners=False)
        self.register_buffer("sigmas", torch.tensor(common.skeleton.sigmas), persistent=False)

    @classmethod
    def from_config(cls, cfg: CfgNode) -> dict[str, Any]:
        """The constructor's arguments, of MODEL.INSPOSE, MODEL.FCOS and the keys that all models share."""
        fcos, node = cfg.MODEL.FCOS, cfg.MODEL.INSPOSE
        common = CommonParts.from_config(cfg, shift=node.OFFICIAL.SHIFT)
        skeleton, shapes = common.skeleton, common.backbone.output_shape()
        in_channels = shapes[fcos.IN_FEATURES[0]].channels
        stride = shapes[node.IN_FEATURE].stride
        head = StarHead(
            in_channels=in_channels,
            channels=fcos.CHANNELS,
            keypoint_channels=node.OFFICIAL.KEYPOINT_CHANNELS,
            num_convs=fcos.NUM_CONVS,
            num_keypoints=skeleton.num_keypoints,
            steering=Steering(tap_indices(skeleton, node.OFFICIAL.TAPS)),
            norm=fcos.NORM,
            prior_prob=fcos.PRIOR_PROB,
        )
        return {
            "keypoint_features": KeypointFeatures(
                node.IN_FEATURE,
                in_channels,
                node.CONVS_DIM,
                node.NUM_CONVS,
                node.CHANNELS,
                node.NORM,
                bias=False,
            ),
            "keypoint_networks": KeypointNetworks(
                2 * fcos.CHANNELS,  # those of the tower "controller", see StarBranch
                network_widths(cfg, skeleton.num_keypoints),
                kernel_size=CONTROLLER_KERNEL,
                ranges=[RANGE * shapes[name].stride for name in fcos.IN_FEATURES],
                stride=stride,
            ),
            "trunk": PixelTrunk(
                in_channels,
                node.OFFICIAL.TRUNK_CHANNELS,
                skeleton.num_keypoints,
                norm=node.NORM,
                stride=stride,
                prior_prob=HEATMAP_PRIOR,
            ),
            "detector": FCOSDetector.from_config(cfg, common.backbone, head),
            "common": common,
        }

    def losses(self, images: ImageList, targets: list[Instances]) -> dict[str, Tensor]:
        """loss_cls, loss_keypoint, loss_keypoint_reg, loss_heatmap, loss_disk_offset and two of the tags.

        Targets have gt_areas (G,), the areas of the persons in square pixels, as those of the loader do. If
        they are missing, a share of the area of the box is used.
        """
        features = self.backbone(images.tensor)
        predictions = self.detector(features)
        feature = features[self.keypoint_features.level]
        detection_targets = self.detector.targets(predictions, targets, self.skeleton.num_keypoints)
        people = [only_labeled(persons) for persons in keypoint_tensors(targets, self.skeleton.num_keypoints)]
        areas = torch.cat([person_areas(target) for target in targets])
        boxes = [target.gt_boxes.tensor for target in targets]
        terms = self._location_terms(predictions, self.keypoint_features(feature), detection_targets, areas)
        return reduce_losses(terms | self._pixel_terms(self._pixel_maps(feature), people, boxes))

    def predict(self, images: ImageList) -> list[Instances]:
        """The poses of each image, with the class probability reduced by Soft-NMS as score.

        Soft-NMS acts on the boxes that enclose the regressed keypoints; they are also the boxes of the poses.
        Networks are generated only for the kept poses. The third value of the keypoints is 1.
        """
        settings = self.detector.inference_settings
        features = self.backbone(images.tensor)
        predictions = self.detector(features)
        probability = predictions.probability("cls")
        candidates = self.detector.select(predictions, probability, probability)
        shared = self.keypoint_features(features[self.keypoint_features.level])
        offsets = full_precision(self.trunk.offsets(features[self.keypoint_features.level]))
        results = []
        rows = candidates.locations.by_image(len(images))
        for image, (size, own) in enumerate(zip(images.image_sizes, rows, strict=True)):
            selected = candidates.locations[own]
            boxes = enclosing_boxes(self._regressed(predictions, selected, size))
            kept = soft_suppress(
                boxes,
                candidates.scores[own],
                nms_thresh=settings.nms_thresh,
                min_score=MIN_SCORE,
                max_detections=settings.max_detections,
            )
            networks = self.keypoint_networks.generate(
                predictions.towers["controller"], predictions.locations, selected[kept.index]
            )
            peaks = self.keypoint_networks.peak_cells(shared[image], networks, enlarge=self.enlarge)
            points = refined_points(peaks.cells, offsets[image], self.trunk.stride)
            keypoints = torch.cat([points, torch.ones_like(points[..., :1])], dim=-1)
            results.append(make_detections(size, Boxes(boxes[kept.index]), kept.scores, keypoints))
        return results

    def _pixel_maps(self, feature: Tensor) -> PixelMaps:
        """The maps of the trunk in full precision."""
        maps = self.trunk(feature)
        return PixelMaps(
            full_precision(maps.heatmaps), full_precision(maps.tags), full_precision(maps.offsets)
        )

    def _regressed(
        self, predictions: DensePredictions, selected: SelectedLocations, size: tuple[int, int]
    ) -> Tensor:
        """(Q, K, 2) regressed keypoints in pixels, clipped to an image of that (height, width)."""
        locations, index = predictions.locations, selected.index
        cells = predictions.maps["keypoints"][selected.images, index].unflatten(1, (-1, 2))
        points = locations.points[index][:, None] + cells * locations.strides[index][:, None, None]
        return points.clamp(min=0).minimum(points.new_tensor(size[::-1]))

    def _location_terms(
        self, predictions: DensePredictions, shared: Tensor, targets: DetectionTargets, areas: Tensor
    ) -> dict[str, LossTerm]:
        """The losses at locations: loss_cls, loss_keypoint and loss_keypoint_reg.

        Args:
            predictions: the predictions of the detector.
            shared: (N, C, H, W) keypoint features.
            targets: the targets of the detector.
            areas: areas of all persons of the batch, in square pixels.
        """
        positives = targets.positives
        at = positives.locations.images, positives.locations.index
        rows = positives.locations.by_image(len(shared))
        keypoints = only_labeled(positives.keypoints)
        labeled = keypoints[..., 2] > 0
        networks = self.keypoint_networks.generate(
            predictions.towers["controller"], predictions.locations, positives.locations
        )
        errors = batch_cross_entropy(self.keypoint_networks, shared, networks, keypoints, rows)
        with torch.no_grad():
            cells = torch.cat(
                [
                    self.keypoint_networks.peak_cells(own, networks[here]).cells
                    for own, here in zip(shared, rows, strict=True)
                ]
            )
        logits = predictions.maps["cls"][..., 0]
        quality = torch.zeros_like(logits)
        quality[at] = pose_quality(
            cells,
            keypoints,
            areas[positives.persons],
            self.sigmas,
            size=(shared.shape[2], shared.shape[3]),
            stride=self.keypoint_networks.stride,
        )
        regressed = predictions.maps["keypoints"][at].unflatten(1, (-1, 2))
        distances = regression_errors(regressed, keypoints, positives.points, positives.strides)
        return {
            "loss_cls": LossTerm(
                varifocal_errors(logits, quality).sum(),
                count_positives_and_images(len(positives), len(logits)),
            ),
            "loss_keypoint": LossTerm((errors * labeled).sum(), labeled.sum()),
            "loss_keypoint_reg": LossTerm((distances * labeled).sum(), labeled.sum()),
        }

    def _pixel_terms(self, maps: PixelMaps, people: list[Tensor], boxes: list[Tensor]) -> dict[str, LossTerm]:
        """The losses of the maps of the trunk, which show all persons of an image together."""
        size, stride = (maps.tags.shape[2], maps.tags.shape[3]), self.trunk.stride
        heatmaps = heatmap_targets(people, boxes, size, stride)
        supervised = square_targets(people, boxes, size, stride)
        tags = tag_errors(maps.tags, people, stride)
        errors = offset_errors(maps.offsets, supervised, stride)
        return {
            "loss_heatmap": LossTerm(heatmap_errors(maps.heatmaps, heatmaps).sum(), (heatmaps == 1).sum()),
            # Without persons the tags need a gradient of zero.
            "loss_ae_pull": LossTerm(tags.pull + 0 * maps.tags.sum(), len(people)),
            "loss_ae_push": LossTerm(tags.push + 0 * maps.tags.sum(), len(people)),
            "loss_disk_offset": LossTerm(errors.sum(), len(supervised)),
        }


def person_areas(target: Instances) -> Tensor:
    """(G,) areas of the persons of an image in square pixels; the official code counts pixels of masks."""
    return target.gt_areas if target.has("gt_areas") else AREA_OF_BOX * target.gt_boxes.area()
