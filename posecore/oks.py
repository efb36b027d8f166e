"""Object keypoint similarity, COCO's measure of how well two poses agree, and suppression by it."""

import torch
from torch import Tensor


def oks(poses: Tensor, truth: Tensor, areas: Tensor, sigmas: Tensor, visible: Tensor) -> Tensor:
    """Similarity of each pose to each true one: mean over labelled keypoints of exp(-d^2 / (2 a (2 s)^2)).

    The formula of pycocotools' ``COCOeval.computeOks`` for persons with labelled keypoints.

    Args:
        poses: (A, K, 2), pixels.
        truth: (B, K, 2), pixels.
        areas: (B,) or (A, B), the areas of the persons, square pixels.
        sigmas: (K,), the constants of the skeleton.
        visible: (B, K), which keypoints of the truth are labelled.

    Returns:
        (A, B) in [0, 1]; 0 where no keypoint is labelled.
    """
    squared = (poses[:, None] - truth[None]).square().sum(dim=-1)  # (A, B, K)
    scale = 2 * (2 * sigmas).square() * (areas[..., None] + torch.finfo(torch.float64).eps)
    weights = visible.to(squared.dtype)
    return (torch.exp(-squared / scale) * weights).sum(dim=-1) / weights.sum(dim=-1).clamp(min=1)


def oks_nms(poses: Tensor, scores: Tensor, areas: Tensor, sigmas: Tensor, threshold: float) -> Tensor:
    """Greedy suppression: a pose falls if one with a higher score is more similar than the threshold.

    Args:
        poses: (M, K, 2), pixels.
        scores: (M,).
        areas: (M,), square pixels; a pair is compared at the mean of its two areas.
        sigmas: (K,).
        threshold: OKS above which the lesser pose is dropped.

    Returns:
        Indices of the kept poses, best first.
    """
    order = scores.argsort(descending=True, stable=True)
    poses, areas = poses[order], areas[order]
    pair_areas = (areas[:, None] + areas[None]) / 2
    similar = oks(poses, poses, pair_areas, sigmas, poses.new_ones(poses.shape[:2])) > threshold
    similar = similar.triu(diagonal=1).cpu()
    kept = torch.ones(len(order), dtype=torch.bool)
    for index in range(len(order)):
        if kept[index]:
            kept &= ~similar[index]
    return order[kept.to(order.device)]
