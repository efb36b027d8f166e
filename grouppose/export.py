"""The exported form of GroupPose: :class:`GroupPoseGraph`.

Letters: N images, Q queries, D detections of each image, K keypoints.
"""

import torch
from torch import Tensor

from grouppose.grouppose import GroupPose
from posecore.export.fcos import clipped, take_rows
from posecore.export.graph import FixedDetections, ImageGraph, export_graph
from posecore.modeling.set_prediction.poses import KeypointPoses
from posecore.modeling.set_prediction.predictions import Predictions
from posecore.structures.boxes import enclosing_boxes


@export_graph(GroupPose)
class GroupPoseGraph(ImageGraph):
    """GroupPose: the D best poses of the last decoder layer, all of which exist."""

    model: GroupPose

    def detections(self, images: Tensor, sizes: Tensor) -> FixedDetections:
        predictions = self._predictions(images, sizes)
        num_classes = predictions.logits.shape[-1]
        scores = predictions.logits.sigmoid().flatten(1)
        scores, best = scores.topk(torch.sym_min(self.model.max_detections, scores.shape[1]), dim=1)
        queries, classes = best // num_classes, num_classes - 1 - best % num_classes
        points = take_rows(predictions.poses.keypoints, queries) * sizes.flip(1)[:, None, None]
        return FixedDetections(
            boxes=clipped(enclosing_boxes(points), sizes),
            scores=scores,
            classes=classes,
            keypoints=torch.cat(
                [points, torch.full_like(points[..., :1], self.model.keypoint_score)], dim=-1
            ),
            valid=torch.ones_like(scores, dtype=torch.bool),
        )

    def raw(self, images: Tensor, sizes: Tensor) -> dict[str, Tensor]:
        """``logits`` (N, Q, C) and ``keypoints`` (N, Q, K, 2), shares of the image."""
        predictions = self._predictions(images, sizes)
        return {"logits": predictions.logits, "keypoints": predictions.poses.keypoints}

    def _predictions(self, images: Tensor, sizes: Tensor) -> Predictions[KeypointPoses]:
        """(N, Q) predictions of the last decoder layer."""
        maps = self.model.maps(images)
        padded = images.shape[2], images.shape[3]
        paddings = [self.padding(sizes, padded, (level.shape[2], level.shape[3])) for level in maps]
        return self.model.decode_maps(maps, paddings).predictions[-1]
