"""From predicted poses in units of their image to detections: ``pose_detections`` and ``best_detections``.

Letters: N images, Q queries, C classes, M detections, K keypoints.
"""

from collections.abc import Sequence

import torch
from detectron2.structures import Boxes, Instances
from torch import Tensor

from posecore.modeling.estimator import make_detections
from posecore.modeling.set_prediction.predictions import Predictions
from posecore.structures.boxes import enclosing_boxes


def pose_detections(
    size: tuple[int, int], keypoints: Tensor, keypoint_scores: Tensor, scores: Tensor, classes: Tensor
) -> Instances:
    """The detections of one image; the box of a pose encloses its keypoints within the image.

    Args:
        size: (height, width) of the image, pixels.
        keypoints: (M, K, 2), x in widths and y in heights of the image.
        keypoint_scores: (M, K) third values of the keypoints.
        scores: (M,).
        classes: (M,) int64.
    """
    height, width = size
    points = keypoints * keypoints.new_tensor([width, height])
    boxes = Boxes(enclosing_boxes(points))
    boxes.clip(size)
    return make_detections(
        size, boxes, scores, torch.cat([points, keypoint_scores[..., None]], dim=-1), classes
    )


def best_detections(
    predictions: Predictions, sizes: Sequence[tuple[int, int]], most: int, keypoint_score: float
) -> list[Instances]:
    """The queries with the highest probabilities as detections, best first, once for each class.

    Args:
        predictions: (N, Q) predictions, whose logits are those of sigmoid classes.
        sizes: N sizes (height, width) of the images, pixels.
        most: the largest number of detections of an image.
        keypoint_score: third value of every keypoint.

    Returns:
        Per image its detections. The last class is a person and becomes class 0, the one before it class 1.
    """
    num_classes = predictions.logits.shape[-1]
    scores = predictions.logits.sigmoid().flatten(1)
    scores, best = scores.topk(min(most, scores.shape[1]), dim=1)
    queries, classes = best // num_classes, num_classes - 1 - best % num_classes
    results = []
    for image, size in enumerate(sizes):
        keypoints = predictions.poses.keypoints[image, queries[image]]
        keypoint_scores = torch.full_like(keypoints[..., 0], keypoint_score)
        results.append(pose_detections(size, keypoints, keypoint_scores, scores[image], classes[image]))
    return results
