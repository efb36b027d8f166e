"""The exported form of POET: :class:`POETGraph`.

Letters: N images, Q queries, K keypoints.
"""

import torch
from torch import Tensor

from poet.poet import POET
from posecore.export.fcos import clipped
from posecore.export.graph import FixedDetections, ImageGraph, export_graph
from posecore.modeling.set_prediction.poses import Poses
from posecore.modeling.set_prediction.predictions import Predictions
from posecore.structures.boxes import enclosing_boxes


@export_graph(POET)
class POETGraph(ImageGraph):
    """POET: the Q poses of the last decoder layer, all of which exist."""

    model: POET

    def detections(self, images: Tensor, sizes: Tensor) -> FixedDetections:
        predictions = self._predictions(images, sizes)
        poses = predictions.poses
        scores, classes = self.model.class_rule.scores(predictions.logits)
        points = poses.keypoints * sizes.flip(1)[:, None, None]
        return FixedDetections(
            boxes=clipped(enclosing_boxes(points), sizes),
            scores=scores,
            classes=classes,
            keypoints=torch.cat([points, self.model.keypoint_scores(poses)[..., None]], dim=-1),
            valid=torch.ones_like(scores, dtype=torch.bool),
        )

    def raw(self, images: Tensor, sizes: Tensor) -> dict[str, Tensor]:
        """``logits`` (N, Q, C), ``keypoints`` (N, Q, K, 2) as shares, and ``visibility`` (N, Q, K)."""
        predictions = self._predictions(images, sizes)
        return {
            "logits": predictions.logits,
            "keypoints": predictions.poses.keypoints,
            "visibility": predictions.poses.visibility,
        }

    def _predictions(self, images: Tensor, sizes: Tensor) -> Predictions[Poses]:
        """(N, Q) predictions of the last decoder layer."""
        model = self.model
        features = model.projection(model.backbone(images)[model.in_feature])
        size = features.shape[2], features.shape[3]
        padding = self.padding(sizes, (images.shape[2], images.shape[3]), size)
        return model.decode_features(features, padding).predictions[-1]
