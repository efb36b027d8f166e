"""The official model: as the paper's, but steered by regressed keypoints, which suppression looks at too.

Letters: N images, R locations over all levels, P positive locations, M candidates, K keypoints, H and W the
size of the keypoint features.
"""

from typing import Any

import torch
from detectron2.config import CfgNode, configurable
from detectron2.modeling import META_ARCH_REGISTRY
from detectron2.structures import Boxes, ImageList, Instances
from torch import Tensor, nn

from inspose.branches import KeypointFeatures
from inspose.disk import offset_errors
from inspose.heatmaps import heatmap_errors, heatmap_targets
from inspose.official.build import model_parts
from inspose.official.losses import (
    pose_quality,
    regression_errors,
    square_targets,
    tag_errors,
    varifocal_errors,
)
from inspose.official.trunk import FACTOR, PixelMaps, PixelTrunk
from posecore.data.formats.coco import AREA_OF_BOX
from posecore.layers.precision import full_precision
from posecore.modeling.fcos.decode import select, soft_suppress
from posecore.modeling.fcos.estimator import Dense, FCOSEstimator
from posecore.modeling.fcos.queries import Queries
from posecore.modeling.fcos.targets import Targets, keypoint_tensors, make_targets
from posecore.modeling.keypoint_network import KeypointNetworks
from posecore.modeling.losses import Term, mean_over_processes
from posecore.structures.boxes import enclosing_boxes
from posecore.structures.heatmaps import only_labeled, refined_points

# Score below which gentle suppression drops a pose.
LEAST_SCORE = 0.001


@META_ARCH_REGISTRY.register()
class InsPoseOfficial(FCOSEstimator):
    """InsPose as in the official code in opera, for its checkpoints.

    Args:
        level: name of the level that the branches read.
        keypoint_features: from that level to the map that the networks read.
        keypoint_networks: generates networks at locations and applies them to that map.
        trunk: from that level to offsets, heatmaps and tags.
        detector: the arguments of :class:`FCOSEstimator`; its head has the maps "cls" and "keypoints" and the
            towers "controller".
    """

    sigmas: Tensor

    @configurable
    def __init__(
        self,
        *,
        level: str,
        keypoint_features: KeypointFeatures,
        keypoint_networks: KeypointNetworks,
        trunk: PixelTrunk,
        **detector: Any,
    ) -> None:
        super().__init__(**detector)
        self.level = level
        self.keypoint_features = keypoint_features
        self.keypoint_networks = keypoint_networks
        self.trunk = trunk
        self.enlarge = nn.Upsample(scale_factor=FACTOR, mode="bicubic", align_corners=False)
        self.register_buffer("sigmas", torch.tensor(self.skeleton.sigmas), persistent=False)

    @classmethod
    def from_config(cls, cfg: CfgNode) -> dict[str, Any]:
        return model_parts(cfg)

    def losses(self, images: ImageList, targets: list[Instances]) -> dict[str, Tensor]:
        """loss_cls, loss_keypoint, loss_keypoint_reg, loss_heatmap, loss_disk_offset and two of tags.

        Targets have gt_areas (G,), of the persons in square pixels, as the loader's do; a share of the box
        stands for them where they are missing.
        """
        num_keypoints = self.skeleton.num_keypoints
        features = self.backbone(images.tensor)
        dense = self.dense(features)
        ground_truth = make_targets(dense.locations, targets, num_keypoints, self.how_to_train)
        people = [only_labeled(persons) for persons in keypoint_tensors(targets, num_keypoints)]
        maps = self._pixel_maps(features[self.level])
        terms = {
            **self._location_terms(
                dense, self.keypoint_features(features[self.level]), ground_truth, targets
            ),
            **self._pixel_terms(maps, people, [target.gt_boxes.tensor for target in targets]),
        }
        normalizers = mean_over_processes(
            {name: term.count for name, term in terms.items()}, device=self.device
        )
        return {name: term.total / normalizers[name] for name, term in terms.items()}

    def predict(self, images: ImageList) -> list[Instances]:
        """Poses by softened score; their boxes are those of the regressed keypoints, as is suppression.

        Networks are generated for the survivors alone. The keypoints' third value is 1.
        """
        how = self.how_to_decode
        features = self.backbone(images.tensor)
        dense = self.dense(features)
        probability = dense.maps["cls"][..., 0].sigmoid()
        candidates = select(probability, probability, dense.locations, how)
        shared = self.keypoint_features(features[self.level])
        offsets = full_precision(self.trunk.offsets(features[self.level]))
        results = []
        for image, (size, here) in enumerate(
            zip(images.image_sizes, candidates.queries.in_image(len(shared)), strict=True)
        ):
            queries = Queries(candidates.queries.images[here], candidates.queries.index[here])
            boxes = enclosing_boxes(self._regressed(dense, queries, size))
            kept = soft_suppress(
                boxes, candidates.scores[here], threshold=how.nms_thresh, least=LEAST_SCORE, limit=how.limit
            )
            where = Queries(queries.images[kept.index], queries.index[kept.index])
            networks = self.keypoint_networks.generate(dense.towers["controller"], dense.locations, where)
            peaks = self.keypoint_networks.peak_cells(shared[image], networks, enlarge=self.enlarge)
            points = refined_points(peaks.cells, offsets[image], self.trunk.stride)
            results.append(
                Instances(
                    size,
                    pred_boxes=Boxes(boxes[kept.index]),
                    scores=kept.scores,
                    pred_classes=torch.zeros_like(kept.index),
                    pred_keypoints=torch.cat([points, torch.ones_like(points[..., :1])], dim=-1),
                )
            )
        return results

    def _pixel_maps(self, feature: Tensor) -> PixelMaps:
        maps = self.trunk(feature)
        return PixelMaps(*(full_precision(values) for values in (maps.heatmaps, maps.tags, maps.offsets)))

    def _regressed(self, dense: Dense, queries: Queries, size: tuple[int, int]) -> Tensor:
        """(M, K, 2) regressed keypoints of one image of that size, moved into it."""
        locations, index = dense.locations, queries.index
        cells = dense.maps["keypoints"][queries.images, index].unflatten(1, (-1, 2))
        points = locations.points[index][:, None] + cells * locations.strides[index][:, None, None]
        return points.clamp(min=0).minimum(points.new_tensor(size[::-1]))

    def _location_terms(
        self, dense: Dense, shared: Tensor, ground_truth: Targets, targets: list[Instances]
    ) -> dict[str, Term]:
        """What is predicted at locations: the score, and keypoints in two ways."""
        positives, nets = ground_truth.positives, self.keypoint_networks
        at = positives.queries.images, positives.queries.index
        keypoints = only_labeled(positives.keypoints)
        labeled = keypoints[..., 2] > 0
        networks = nets.generate(dense.towers["controller"], dense.locations, positives.queries)
        errors, cells = [], []
        for own, here in zip(shared, positives.queries.in_image(len(shared)), strict=True):
            errors.append(nets.cross_entropy(own, networks[here], keypoints[here]))
            with torch.no_grad():
                cells.append(nets.peak_cells(own, networks[here]).cells)
        quality = torch.zeros_like(dense.maps["cls"][..., 0])
        quality[at] = pose_quality(
            torch.cat(cells),
            keypoints,
            torch.cat([_areas(target) for target in targets])[positives.persons],
            self.sigmas,
            size=(shared.shape[2], shared.shape[3]),
            stride=nets.stride,
        )
        regressed = dense.maps["keypoints"][at].unflatten(1, (-1, 2))
        distances = regression_errors(regressed, keypoints, positives.points, positives.strides)
        scores = varifocal_errors(dense.maps["cls"][..., 0], quality)
        return {
            "loss_cls": Term(
                scores.sum(), labeled.new_tensor(len(positives) + len(targets), dtype=torch.float)
            ),
            "loss_keypoint": Term((torch.cat(errors) * labeled).sum(), labeled.sum()),
            "loss_keypoint_reg": Term((distances * labeled).sum(), labeled.sum()),
        }

    def _pixel_terms(self, maps: PixelMaps, people: list[Tensor], boxes: list[Tensor]) -> dict[str, Term]:
        """What is predicted at cells, of all persons together."""
        size, stride = (maps.tags.shape[2], maps.tags.shape[3]), self.trunk.stride
        heatmaps = heatmap_targets(people, boxes, size, stride)
        supervised = square_targets(people, boxes, size, stride)
        tags, num_images = tag_errors(maps.tags, people, stride), maps.tags.new_tensor(len(people))
        return {
            "loss_heatmap": Term(heatmap_errors(maps.heatmaps, heatmaps).sum(), (heatmaps == 1).sum()),
            "loss_ae_pull": Term(tags.pull + 0 * maps.tags.sum(), num_images),
            "loss_ae_push": Term(tags.push + 0 * maps.tags.sum(), num_images),
            "loss_disk_offset": Term(
                offset_errors(maps.offsets, supervised, stride).sum(), maps.tags.new_tensor(len(supervised))
            ),
        }


def _areas(target: Instances) -> Tensor:
    """(G,) square pixels; the official code counts the pixels of masks."""
    return target.gt_areas if target.has("gt_areas") else AREA_OF_BOX * target.gt_boxes.area()
