"""The model: FCOS, a keypoint head generated at every detection, and offsets that refine its peaks.

Letters: N images, R locations over all levels, P positive locations, Q of them that train keypoints, M
candidates, K keypoints, H and W the size of the map F.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import torch
import torch.nn.functional as F
from detectron2.config import CfgNode, configurable
from detectron2.modeling import META_ARCH_REGISTRY, Backbone
from detectron2.structures import Boxes, ImageList, Instances
from torch import Tensor, nn

from fcpose.auxiliary import AuxiliaryHeatmaps, auxiliary_loss, auxiliary_targets
from fcpose.basis import Basis
from fcpose.build import model_parts
from fcpose.how import Decoding, Training
from fcpose.keypoint_head import KeypointHead
from fcpose.losses import KeypointBatch, KeypointLoss
from fcpose.sampling import sample_positives
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


@dataclass(frozen=True)
class SharedMaps:
    """What all persons of a picture share.

    Attributes:
        merged: (N, C', H, W), the levels joined.
        bases: (N, C, H, W), the map F.
        offsets: (N, K, 2, H', W') from the centre of a heatmap's cell to the keypoint, in pixels.
    """

    merged: Tensor
    bases: Tensor
    offsets: Tensor


@META_ARCH_REGISTRY.register()
class FCPose(PoseEstimator):
    """Fully convolutional multi-person pose estimation with dynamic convolutions (arXiv 2105.14185).

    Args:
        backbone: from pictures to the named maps of ``in_features``.
        in_features: names of the detector's levels, finest first.
        basis_features: names of the levels that the map F is made of, finest first.
        skeleton: which keypoints a person has.
        head: with the towers "cls" and "box" and the predictors "cls", "ltrb" and "centerness".
        basis: from these levels to the tower of F.
        bases: from that tower to F.
        offsets: from the finest level and that tower to (N, K, 2, H', W'), pixels, H' and W' being the size
            of the heatmaps.
        keypoint_head: generates heads at locations and applies them to F.
        auxiliary: heatmaps of all persons together, in training; or None.
        keypoint_losses: name -> the loss and its weight.
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
        basis_features: list[str],
        skeleton: Skeleton,
        head: FCOSHead,
        basis: Basis,
        bases: nn.Module,
        offsets: nn.Module,
        keypoint_head: KeypointHead,
        auxiliary: AuxiliaryHeatmaps | None,
        keypoint_losses: Mapping[str, tuple[KeypointLoss, float]],
        training: Training,
        decoding: Decoding,
        pixel_mean: tuple[float, ...],
        pixel_std: tuple[float, ...],
    ) -> None:
        super().__init__(backbone=backbone, skeleton=skeleton, pixel_mean=pixel_mean, pixel_std=pixel_std)
        self.in_features = in_features
        self.basis_features = basis_features
        self.strides = [backbone.output_shape()[name].stride for name in in_features]
        self.head = head
        self.basis = basis
        self.bases = bases
        self.offsets = offsets
        self.keypoint_head = keypoint_head
        self.auxiliary = auxiliary
        self.keypoint_losses = keypoint_losses
        self.how_to_train = training
        self.how_to_decode = decoding

    @classmethod
    def from_config(cls, cfg: CfgNode) -> dict[str, Any]:
        return model_parts(cfg)

    def losses(self, images: ImageList, targets: list[Instances]) -> dict[str, Tensor]:
        """loss_cls, loss_box, loss_centerness, loss_heatmap; loss_offset and the auxiliary ones if any."""
        how = self.how_to_train
        features = self.backbone(images.tensor)
        output, locations = self._dense(features)
        shared = self._shared(features)
        matched = torch.stack(
            [
                assign(locations, target.gt_boxes.tensor, radius=how.center_radius, ranges=how.size_ranges)
                for target in targets
            ]
        )
        positives = gather_positives(matched, locations, targets, self.skeleton.num_keypoints)
        ltrb = box_to_ltrb(positives.points, positives.boxes)
        middle = centerness(ltrb)
        people = [_only_labelled(person) for person in keypoint_tensors(targets, self.skeleton.num_keypoints)]
        batch = self._keypoint_batch(output, locations, shared, positives, people)
        terms = {name: loss(batch) for name, (loss, _) in self.keypoint_losses.items()}
        auxiliary = self._auxiliary(shared, people)
        divisors = mean_over_processes(
            {
                "loss_cls": len(positives) + how.count_images * len(targets),
                "loss_box": middle.sum(),
                "loss_centerness": len(positives),
                **{name: term.count for name, term in terms.items()},
                **{name: truth.square().sum() for name, (_, truth) in auxiliary.items()},
            },
            device=self.device,
        )

        at = positives.queries.images, positives.queries.index
        focal = {"alpha": how.focal_alpha, "gamma": how.focal_gamma}
        maps = {name: full_precision(values) for name, values in output.maps.items()}
        cells = ltrb / positives.strides[:, None]
        sides = F.relu(maps["ltrb"][at])
        losses = {
            "loss_cls": classification_loss(maps["cls"], matched >= 0, divisors["loss_cls"], **focal),
            "loss_box": box_loss(sides, cells, middle, divisors["loss_box"], smoothing=how.giou_smoothing),
            "loss_centerness": centerness_loss(
                maps["centerness"][at][:, 0], middle, divisors["loss_centerness"]
            ),
        }
        for name, (_, weight) in self.keypoint_losses.items():
            losses[name] = weight * terms[name].total / divisors[name]
        for name, (logits, truth) in auxiliary.items():
            losses[name] = how.auxiliary_weight * auxiliary_loss(logits, truth, divisors[name])
        return losses

    def predict(self, images: ImageList) -> list[Instances]:
        """Poses by score, the root of class probability times centerness.

        Doubles are dropped by their boxes before any keypoint is sought.
        """
        how = self.how_to_decode
        features = self.backbone(images.tensor)
        output, locations = self._dense(features)
        shared = self._shared(features)
        probability = full_precision(output.maps["cls"][..., 0]).sigmoid()
        scores = (probability * full_precision(output.maps["centerness"][..., 0]).sigmoid()).sqrt()
        candidates = select(
            probability, scores, locations, threshold=how.score_thresh, topk_per_level=how.topk_per_level
        )
        queries = candidates.queries
        points, strides = locations.points[queries.index], locations.strides[queries.index]
        cells = F.relu(full_precision(output.maps["ltrb"][queries.images, queries.index]))
        boxes = ltrb_to_box(points, cells * strides[:, None])
        parts = (values.split(candidates.counts) for values in (queries.index, candidates.scores, boxes))
        results = []
        for image, (size, index, own_scores, own_boxes) in enumerate(
            zip(images.image_sizes, *parts, strict=True)
        ):
            kept = suppress(own_boxes, own_scores, threshold=how.nms_thresh, limit=how.limit)
            kept = kept[_on_picture(own_boxes[kept], size)]
            where = Queries(torch.full_like(kept, image), index[kept])
            results.append(
                Instances(
                    size,
                    pred_boxes=_clipped(own_boxes[kept], size),
                    scores=own_scores[kept],
                    pred_classes=torch.zeros_like(kept),
                    pred_keypoints=self._keypoints(output, locations, shared, where, image),
                )
            )
        return results

    def _dense(self, features: dict[str, Tensor]) -> tuple[FCOSOutput, Locations]:
        maps = [features[name] for name in self.in_features]
        sizes = [(level.shape[-2], level.shape[-1]) for level in maps]
        return self.head(maps), make_locations(sizes, self.strides, self.device)

    def _shared(self, features: dict[str, Tensor]) -> SharedMaps:
        levels = [features[name] for name in self.basis_features]
        merged = self.basis.merge(levels)
        tower = self.basis.tower(merged)
        with torch.autocast(tower.device.type, enabled=False):
            finest, tower = full_precision(levels[0]), full_precision(tower)
            return SharedMaps(merged, self.bases(tower), self.offsets(finest, tower))

    def _keypoint_batch(
        self,
        output: FCOSOutput,
        locations: Locations,
        shared: SharedMaps,
        positives: Positives,
        people: list[Tensor],
    ) -> KeypointBatch:
        """The heatmaps of the positives that train keypoints, and their truth."""
        queries = positives.queries
        at = queries.images, queries.index
        logits = {name: full_precision(output.maps[name][at][:, 0]) for name in ("cls", "centerness")}
        confidence = logits["cls"].sigmoid() * logits["centerness"].sigmoid()
        sample = sample_positives(
            positives.persons, confidence.detach(), limit=self.how_to_train.max_positives
        )
        chosen = Queries(queries.images[sample.index], queries.index[sample.index])
        heads = self.keypoint_head.generate(output.towers["box"], locations, chosen)
        heatmaps = [
            self.keypoint_head(bases, heads[chosen.images == image])
            for image, bases in enumerate(shared.bases)
        ]
        return KeypointBatch(
            logits=torch.cat(heatmaps),  # positives, and so the chosen ones, come picture by picture
            weights=sample.weights,
            images=chosen.images,
            boxes=positives.boxes[sample.index],
            keypoints=_only_labelled(positives.keypoints[sample.index]),
            offsets=shared.offsets,
            people=people,
            stride=self.keypoint_head.heatmap_stride,
        )

    def _auxiliary(self, shared: SharedMaps, people: list[Tensor]) -> dict[str, tuple[Tensor, Tensor]]:
        """Loss name -> (logits, targets); nothing without the branch."""
        if self.auxiliary is None:
            return {}
        logits = self.auxiliary(shared.merged)
        height, width = shared.merged.shape[2:]
        targets = auxiliary_targets(people, (height, width), self.keypoint_head.stride)
        return {
            "loss_auxiliary_coarse": (full_precision(logits.coarse), targets.coarse),
            "loss_auxiliary_fine": (full_precision(logits.fine), targets.fine),
        }

    def _keypoints(
        self, output: FCOSOutput, locations: Locations, shared: SharedMaps, where: Queries, image: int
    ) -> Tensor:
        """(M, K, 3) keypoints of one picture's M detections: x and y in pixels, confidence."""
        heads = self.keypoint_head.generate(output.towers["box"], locations, where)
        peaks = self.keypoint_head.peaks(shared.bases[image], heads)
        width, stride = shared.offsets.shape[4], self.keypoint_head.heatmap_stride
        columns, rows = peaks.cells % width, peaks.cells // width
        centers = (torch.stack([columns, rows], dim=-1) + 0.5) * stride
        each = torch.arange(peaks.cells.shape[1], device=self.device)
        points = centers + shared.offsets[image][each, :, rows, columns]
        confidence = peaks.logits if self.how_to_decode.keypoint_logits else peaks.probability
        return torch.cat([points, confidence[..., None]], dim=-1)


def _only_labelled(keypoints: Tensor) -> Tensor:
    """(..., K, 3) with zeros where nothing is labelled: there may be anything, and 0 * NaN is NaN."""
    return torch.where(keypoints[..., 2:] > 0, keypoints, 0)


def _clipped(boxes: Tensor, size: tuple[int, int]) -> Boxes:
    clipped = Boxes(boxes)
    clipped.clip(size)
    return clipped


def _on_picture(boxes: Tensor, size: tuple[int, int]) -> Tensor:
    """(M,) bool: some of the (M, 4) box lies on the picture, not all of it beside it or in the padding."""
    return _clipped(boxes, size).nonempty()
