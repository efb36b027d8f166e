"""The vote of several poses of a person on its keypoints, for test-time augmentation."""

import torch
from detectron2.structures import Instances
from torch import Tensor
from torchvision.ops import box_iou

# A pose votes on the persons whose box overlaps its own by an IoU above this.
VOTE_IOU = 0.5
# The standard deviation of a vote, as a share of the square root of the area of the person's box.
VOTE_WIDTH = 0.1


def vote_on_keypoints(kept: Instances, found: Instances) -> Tensor:
    """The keypoints of poses, each at the place that most of the poses found of that person agree on.

    It is for keypoints what box voting is for boxes (arXiv 1505.01749). A mean of the found positions would
    lie between the hands where they disagree on which one is the left. Each position votes for places near it
    instead: its vote is a normal density of the distance, times the score of its pose and its confidence. The
    position with the most votes wins, and the result is the mean of all positions, weighted by their votes
    for it.

    Args:
        kept: M poses with pred_boxes and pred_keypoints (M, K, 3).
        found: N poses with pred_boxes, scores and pred_keypoints (N, K, 3); the voters, among them the kept
            ones.

    Returns:
        (M, K, 3): the new positions, with the confidences of the kept poses.
    """
    keypoints = kept.pred_keypoints.clone()
    overlaps = box_iou(kept.pred_boxes.tensor, found.pred_boxes.tensor)  # (M, N)
    widths = VOTE_WIDTH * kept.pred_boxes.area().clamp(min=0).sqrt()
    for person, (overlap, width) in enumerate(zip(overlaps, widths, strict=True)):
        voters = overlap > VOTE_IOU
        if not voters.any():  # its own box is empty
            continue
        points, confidence = found.pred_keypoints[voters].split((2, 1), dim=2)  # (n, K, 2), (n, K, 1)
        weights = found.scores[voters, None] * confidence[..., 0]  # (n, K)
        places = points.transpose(0, 1)  # (K, n, 2)
        # Not by products of matrices, whose rounding is larger than short distances.
        distances = torch.cdist(places, places, compute_mode="donot_use_mm_for_euclid_dist")  # (K, n, n)
        densities = torch.exp(-0.5 * (distances / width) ** 2) * weights.t()[:, None]
        best = densities.sum(dim=2).argmax(dim=1)  # (K,)
        votes = densities[torch.arange(len(best), device=best.device), best]  # (K, n)
        total = votes.sum(dim=1)
        means = torch.einsum("kn,knd->kd", votes, places) / total[:, None]
        # Where no voter is confident of a keypoint, it stays where it was.
        keypoints[person, :, :2] = torch.where(total[:, None] > 0, means, keypoints[person, :, :2])
    return keypoints
