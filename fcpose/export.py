"""The exported form of FCPose: :class:`FCPoseGraph`.

Letters: N images, D detections of each image.
"""

import torch
from torch import Tensor

from fcpose.fcpose import FCPose, detection_scores
from posecore.export.fcos import all_locations, clipped, fixed_candidates, fixed_suppression, take_rows
from posecore.export.graph import PREDICTIONS, FixedDetections, ImageGraph, export_graph
from posecore.export.keypoint_network import batched_heatmaps
from posecore.modeling.keypoint_network import find_peaks


@export_graph(FCPose)
class FCPoseGraph(ImageGraph):
    """FCPose with suppression and keypoints: keypoint heads are computed for D detections of each image."""

    model: FCPose
    float_parts = (*PREDICTIONS, "shared_branch.bases", "shared_branch.offsets")

    def detections(self, images: Tensor, sizes: Tensor) -> FixedDetections:
        model, settings = self.model, self.model.detector.inference_settings
        features = model.backbone(images)
        predictions = model.detector(features)
        shared = model.shared_branch(features)
        candidates = fixed_candidates(*detection_scores(predictions), predictions.locations, settings)
        boxes = predictions.boxes_at(candidates.locations).unflatten(0, (-1, candidates.index.shape[1]))
        rows = fixed_suppression(boxes, candidates, settings)
        kept, boxes = candidates.at(rows), clipped(take_rows(boxes, rows), sizes)
        heads = model.keypoint_head.generate(predictions.towers["box"], predictions.locations, kept.locations)
        peaks = find_peaks(batched_heatmaps(model.keypoint_head, shared.bases, heads))
        keypoints = model.refined_keypoints(predictions, shared, kept.locations, peaks)
        # A box that lies in the padding beside the image is not a person of the image.
        nonempty = (boxes[..., 2] > boxes[..., 0]) & (boxes[..., 3] > boxes[..., 1])
        return FixedDetections(
            boxes=boxes,
            scores=kept.scores,
            classes=torch.zeros_like(rows),
            keypoints=keypoints.unflatten(0, (-1, rows.shape[1])),
            valid=kept.valid & nonempty,
        )

    def raw(self, images: Tensor, sizes: Tensor) -> dict[str, Tensor]:
        """``probability``, ``scores`` and ``boxes`` of all locations, the shared maps, and the tower."""
        model = self.model
        features = model.backbone(images)
        predictions = model.detector(features)
        shared = model.shared_branch(features)
        probability, scores = detection_scores(predictions)
        everywhere = all_locations(probability)
        towers = {f"box_tower{level}": tower for level, tower in enumerate(predictions.towers["box"])}
        return {
            "probability": probability,
            "scores": scores,
            "boxes": predictions.boxes_at(everywhere).unflatten(0, probability.shape),
            "bases": shared.bases,
            "offsets": shared.offsets,
            **towers,
        }
