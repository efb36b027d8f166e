"""Object keypoint similarity (OKS), COCO's similarity of two poses, and non-maximum suppression by it."""

import torch
from torch import Tensor


def paired_oks(poses: Tensor, ground_truth: Tensor, areas: Tensor, sigmas: Tensor, visible: Tensor) -> Tensor:
    """OKS of poses and ground truth: the mean over labeled keypoints of exp(-d^2 / (2 a (2 s)^2)).

    The formula of pycocotools' ``COCOeval.computeOks`` for persons with labeled keypoints. First dimensions
    broadcast.

    Args:
        poses: (..., K, 2), pixels.
        ground_truth: (..., K, 2), pixels.
        areas: (...), of the persons, square pixels.
        sigmas: (K,), the constants of the skeleton.
        visible: (..., K), which keypoints of the ground truth are labeled.

    Returns:
        (...) in [0, 1]; 0 where no keypoint is labeled.
    """
    squared = (poses - ground_truth).square().sum(dim=-1)
    scale = 2 * (2 * sigmas).square() * (areas[..., None] + torch.finfo(torch.float64).eps)
    weights = visible.to(squared.dtype)
    return (torch.exp(-squared / scale) * weights).sum(dim=-1) / weights.sum(dim=-1).clamp(min=1)


def oks(poses: Tensor, ground_truth: Tensor, areas: Tensor, sigmas: Tensor, visible: Tensor) -> Tensor:
    """OKS of each pose with each pose of the ground truth (:func:`paired_oks`).

    Args:
        poses: (A, K, 2), pixels.
        ground_truth: (B, K, 2), pixels.
        areas: (B,) or (A, B), the areas of the persons, square pixels.
        sigmas: (K,), the constants of the skeleton.
        visible: (B, K), which keypoints of the ground truth are labeled.

    Returns:
        (A, B) in [0, 1]; 0 where no keypoint is labeled.
    """
    return paired_oks(poses[:, None], ground_truth, areas, sigmas, visible)


def oks_nms(poses: Tensor, scores: Tensor, areas: Tensor, sigmas: Tensor, threshold: float) -> Tensor:
    """Greedy suppression: a pose is dropped if its OKS with a kept one of higher score is above a threshold.

    Args:
        poses: (M, K, 2), pixels.
        scores: (M,).
        areas: (M,), square pixels; a pair is compared at the mean of its two areas.
        sigmas: (K,).
        threshold: OKS above which a pose is dropped.

    Returns:
        Indices of the kept poses, best first.
    """
    order = scores.argsort(descending=True, stable=True)
    kept = [order[:0]]
    while len(order):  # row by row, because all pairs at once would take memory for M * M poses
        kept.append(order[:1])
        best, order = order[:1], order[1:]
        pair_areas = (areas[order] + areas[best]) / 2
        every = poses.new_ones(poses.shape[1])
        similar = paired_oks(poses[order], poses[best], pair_areas, sigmas, every)
        order = order[~(similar > threshold)]
    return torch.cat(kept)
