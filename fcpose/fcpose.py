"""The model: FCOS, a keypoint head generated at every detection, and offsets that refine its peaks.

Letters: N images, R locations over all levels, P positive locations, Q of them that train keypoints, M
candidates, K keypoints, H and W the size of the map F.
"""

from collections.abc import Mapping
from functools import partial
from typing import Any

import torch
from detectron2.config import CfgNode, configurable
from detectron2.modeling import META_ARCH_REGISTRY
from detectron2.structures import ImageList, Instances
from torch import Tensor, nn

from fcpose.auxiliary import AuxiliaryHeatmaps, auxiliary_loss, auxiliary_targets
from fcpose.basis import Basis, SharedMaps
from fcpose.build import model_parts
from fcpose.losses import KeypointBatch, KeypointLoss
from fcpose.sampling import sample_positives
from posecore.layers.precision import full_precision
from posecore.modeling.fcos.decode import boxes_at, clipped, select, suppress
from posecore.modeling.fcos.estimator import Dense, FCOSEstimator
from posecore.modeling.fcos.losses import detection_losses, detection_totals
from posecore.modeling.fcos.queries import Queries
from posecore.modeling.fcos.targets import Positives, keypoint_tensors, make_targets
from posecore.modeling.keypoint_network import KeypointNetworks
from posecore.modeling.losses import mean_over_processes
from posecore.structures.heatmaps import cell_centers, only_labeled


@META_ARCH_REGISTRY.register()
class FCPose(FCOSEstimator):
    """Fully convolutional multi-person pose estimation with dynamic convolutions (arXiv 2105.14185).

    Args:
        basis_features: names of the levels that the map F is made of, finest first.
        basis: from these levels to the tower of F.
        bases: from that tower to F.
        offsets: from the finest level and that tower to (N, K, 2, H', W'), pixels, H' and W' being the size
            of the heatmaps.
        keypoint_head: generates heads at locations and applies them to F.
        refinement: from these maps, the detector's, queries and (Q, K, n) cells to (Q, K, n, 2) offsets.
        auxiliary: heatmaps of all persons together, in training; or None.
        auxiliary_weight: of each of their two losses.
        keypoint_losses: name -> the loss and its weight.
        max_positives: locations of a batch that train keypoints.
        keypoint_logits: a keypoint's third value is the logit of its cell, not its probability.
        detector: the arguments of :class:`FCOSEstimator`; its head has the towers "cls" and "box" and the
            predictors "cls", "ltrb" and "centerness".
    """

    @configurable
    def __init__(
        self,
        *,
        basis_features: list[str],
        basis: Basis,
        bases: nn.Module,
        offsets: nn.Module,
        keypoint_head: KeypointNetworks,
        refinement: nn.Module,
        auxiliary: AuxiliaryHeatmaps | None,
        auxiliary_weight: float = 0.2,
        keypoint_losses: Mapping[str, tuple[KeypointLoss, float]],
        max_positives: int = 50,
        keypoint_logits: bool = False,
        **detector: Any,
    ) -> None:
        super().__init__(**detector)
        self.basis_features = basis_features
        self.basis = basis
        self.bases = bases
        self.offsets = offsets
        self.keypoint_head = keypoint_head
        self.refinement = refinement
        self.auxiliary = auxiliary
        self.auxiliary_weight = auxiliary_weight
        self.keypoint_losses = keypoint_losses
        self.max_positives = max_positives
        self.keypoint_logits = keypoint_logits

    @classmethod
    def from_config(cls, cfg: CfgNode) -> dict[str, Any]:
        return model_parts(cfg)

    def losses(self, images: ImageList, targets: list[Instances]) -> dict[str, Tensor]:
        """loss_cls, loss_box, loss_centerness, loss_heatmap; loss_offset and the auxiliary ones if any."""
        how, num_keypoints = self.how_to_train, self.skeleton.num_keypoints
        features = self.backbone(images.tensor)
        dense = self.dense(features)
        shared = self._shared(features)
        ground_truth = make_targets(dense.locations, targets, num_keypoints, how)
        people = [only_labeled(person) for person in keypoint_tensors(targets, num_keypoints)]
        batch = self._keypoint_batch(dense, shared, ground_truth.positives, people)
        terms = {name: loss(batch) for name, (loss, _) in self.keypoint_losses.items()}
        auxiliary = self._auxiliary(shared, people)
        normalizers = mean_over_processes(
            {
                **detection_totals(ground_truth, how),
                **{name: term.count for name, term in terms.items()},
                **{name: heatmaps.square().sum() for name, (_, heatmaps) in auxiliary.items()},
            },
            device=self.device,
        )
        losses = detection_losses(dense.maps, ground_truth, normalizers, how)
        for name, (_, weight) in self.keypoint_losses.items():
            losses[name] = weight * terms[name].total / normalizers[name]
        for name, (logits, heatmaps) in auxiliary.items():
            losses[name] = self.auxiliary_weight * auxiliary_loss(logits, heatmaps, normalizers[name])
        return losses

    def predict(self, images: ImageList) -> list[Instances]:
        """Poses by score, the root of class probability times centerness.

        Duplicates are dropped by their boxes before any keypoint is sought.
        """
        how = self.how_to_decode
        features = self.backbone(images.tensor)
        dense = self.dense(features)
        shared = self._shared(features)
        probability = dense.maps["cls"][..., 0].sigmoid()
        scores = (probability * dense.maps["centerness"][..., 0].sigmoid()).sqrt()
        candidates = select(probability, scores, dense.locations, how)
        boxes = boxes_at(dense.maps["ltrb"], dense.locations, candidates.queries)
        parts = (
            values.split(candidates.counts) for values in (candidates.queries.index, candidates.scores, boxes)
        )
        results = []
        for image, (size, index, own_scores, own_boxes) in enumerate(
            zip(images.image_sizes, *parts, strict=True)
        ):
            kept = suppress(own_boxes, own_scores, threshold=how.nms_thresh, limit=how.limit)
            # What lies beside the image or in the padding is no person of it.
            kept = kept[clipped(own_boxes[kept], size).nonempty()]
            where = Queries(torch.full_like(kept, image), index[kept])
            results.append(
                Instances(
                    size,
                    pred_boxes=clipped(own_boxes[kept], size),
                    scores=own_scores[kept],
                    pred_classes=torch.zeros_like(kept),
                    pred_keypoints=self._keypoints(dense, shared, where, image),
                )
            )
        return results

    def _shared(self, features: dict[str, Tensor]) -> SharedMaps:
        levels = [features[name] for name in self.basis_features]
        merged = self.basis.merge(levels)
        tower = self.basis.tower(merged)
        with torch.autocast(tower.device.type, enabled=False):
            finest, tower = full_precision(levels[0]), full_precision(tower)
            return SharedMaps(merged, self.bases(tower), self.offsets(finest, tower))

    def _keypoint_batch(
        self, dense: Dense, shared: SharedMaps, positives: Positives, people: list[Tensor]
    ) -> KeypointBatch:
        """The heatmaps of the positives that train keypoints, and their ground truth."""
        queries = positives.queries
        at = queries.images, queries.index
        logits = {name: dense.maps[name][at][:, 0] for name in ("cls", "centerness")}
        confidence = logits["cls"].sigmoid() * logits["centerness"].sigmoid()
        sample = sample_positives(positives.persons, confidence.detach(), limit=self.max_positives)
        chosen = Queries(queries.images[sample.index], queries.index[sample.index])
        heads = self.keypoint_head.generate(dense.towers["box"], dense.locations, chosen)
        heatmaps = [
            self.keypoint_head(bases, heads[chosen.images == image])
            for image, bases in enumerate(shared.bases)
        ]
        return KeypointBatch(
            logits=torch.cat(heatmaps),  # positives, and so the chosen ones, come image by image
            weights=sample.weights,
            images=chosen.images,
            boxes=positives.boxes[sample.index],
            keypoints=only_labeled(positives.keypoints[sample.index]),
            offsets=shared.offsets,
            read_offsets=partial(self.refinement, shared, dense, chosen),
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

    def _keypoints(self, dense: Dense, shared: SharedMaps, where: Queries, image: int) -> Tensor:
        """(M, K, 3) keypoints of one image's M detections: x and y in pixels, confidence."""
        heads = self.keypoint_head.generate(dense.towers["box"], dense.locations, where)
        peaks = self.keypoint_head.peaks(shared.bases[image], heads)
        centers = cell_centers(peaks.cells, shared.offsets.shape[4], self.keypoint_head.heatmap_stride)
        points = centers + self.refinement(shared, dense, where, peaks.cells[..., None])[:, :, 0]
        confidence = peaks.logits if self.keypoint_logits else peaks.probability
        return torch.cat([points, confidence[..., None]], dim=-1)
