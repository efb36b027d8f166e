"""The exported form of DirectPose: :class:`DirectPoseGraph`.

Letters: N images, R locations, S candidates and D detections of each image, K keypoints.
"""

import torch
from torch import Tensor

from directpose.directpose import DirectPose, detection_scores
from posecore.export.fcos import all_locations, clipped, fixed_candidates, fixed_suppression, take_rows
from posecore.export.graph import PREDICTIONS, FixedDetections, ImageGraph, export_graph
from posecore.modeling.fcos.detector import DensePredictions
from posecore.modeling.fcos.locations import SelectedLocations
from posecore.structures.boxes import enclosing_boxes


@export_graph(DirectPose)
class DirectPoseGraph(ImageGraph):
    """DirectPose with suppression: keypoints are computed for all S candidates, as in the model."""

    model: DirectPose
    float_parts = (*PREDICTIONS, "keypoint_branch.locator", "keypoint_branch.conv")

    def detections(self, images: Tensor, sizes: Tensor) -> FixedDetections:
        predictions = self.model.detector(self.model.backbone(images))
        settings = self.model.detector.inference_settings
        candidates = fixed_candidates(*detection_scores(predictions), predictions.locations, settings)
        shape = (-1, candidates.index.shape[1])
        positions, boxes = self._decoded(predictions, candidates.locations)
        boxes = clipped(boxes.unflatten(0, shape), sizes)
        rows = fixed_suppression(boxes, candidates, settings)
        kept, points = candidates.at(rows), take_rows(positions.unflatten(0, shape), rows)
        return FixedDetections(
            boxes=take_rows(boxes, rows),
            scores=kept.scores,
            classes=torch.zeros_like(rows),
            keypoints=torch.cat([points, torch.ones_like(points[..., :1])], dim=-1),
            valid=kept.valid,
        )

    def raw(self, images: Tensor, sizes: Tensor) -> dict[str, Tensor]:
        """``probability`` (N, R), ``scores`` (N, R), ``boxes`` (N, R, 4) and ``keypoints`` (N, R, K, 2)."""
        predictions = self.model.detector(self.model.backbone(images))
        probability, scores = detection_scores(predictions)
        positions, boxes = self._decoded(predictions, all_locations(probability))
        shape = (-1, probability.shape[1])
        return {
            "probability": probability,
            "scores": scores,
            "boxes": boxes.unflatten(0, shape),
            "keypoints": positions.unflatten(0, shape),
        }

    def _decoded(self, predictions: DensePredictions, selected: SelectedLocations) -> tuple[Tensor, Tensor]:
        """(Q, K, 2) keypoints and (Q, 4) boxes of Q locations, in pixels."""
        positions = self.model.positions(predictions, selected)
        if "ltrb" in predictions.maps:
            return positions, predictions.boxes_at(selected)
        return positions, enclosing_boxes(positions)
