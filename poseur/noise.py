"""Noisy proposals: in training the decoder also refines groups of wrong proposals (section 3.1).

Letters: N crops, K keypoints, G groups of K queries. The decoder treats all groups alike; keypoints attend to
those of their own group only.
"""

from collections.abc import Callable

import torch
from torch import Tensor

# From proposals (N, K, 2) to those of further groups (N, G, K, 2).
ProposalNoise = Callable[[Tensor], Tensor]

# The official code clips the noise to +-MAX_NOISE, and the noisy proposals to LIMITS.
MAX_NOISE = 1.0
LIMITS = (-0.7, 1.7)


def random_proposals(proposals: Tensor, groups: int) -> Tensor:
    """The paper's noise: points uniform in the crop, whatever the proposals (N, K, 2)."""
    return torch.rand_like(proposals[:, None].expand(-1, groups, -1, -1))


def perturbed_proposals(proposals: Tensor, groups: int, per_group: int, variance: float) -> Tensor:
    """The official code's noise: copies of the proposals in which a few points are moved.

    Args:
        proposals: (N, K, 2).
        groups: G.
        per_group: the number of points of a group that are moved, on average. The points are drawn over all
            groups together, and are the same for all crops.
        variance: of the noise.

    Returns:
        (N, G, K, 2).
    """
    count, keypoints, _ = proposals.shape
    moved = min(groups * per_group, groups * keypoints)
    chosen = torch.randperm(groups * keypoints, device=proposals.device)[:moved]
    noise = variance**0.5 * torch.randn(count, moved, 2, dtype=proposals.dtype, device=proposals.device)
    return perturb(proposals, chosen, noise, groups)


def perturb(proposals: Tensor, chosen: Tensor, noise: Tensor, groups: int) -> Tensor:
    """Moves some points of copies of the proposals.

    Args:
        proposals: (N, K, 2).
        chosen: (S,) int64, indices of the points to move among all G * K, group by group.
        noise: (N, S, 2), clipped before it is added.
        groups: G.

    Returns:
        (N, G, K, 2); the other points are those of the proposals.
    """
    copies = proposals.repeat(1, groups, 1)
    moved = copies[:, chosen] + noise.clamp(-MAX_NOISE, MAX_NOISE)
    return copies.index_copy(1, chosen, moved.clamp(*LIMITS)).unflatten(1, (groups, -1))


def no_noise(proposals: Tensor) -> Tensor:
    """No further groups: (N, 0, K, 2)."""
    return proposals[:, None][:, :0]
