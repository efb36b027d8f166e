"""Noisy reference points: in training the decoder starts from wrong proposals, too (section 3.1).

Letters: N crops, K keypoints, G groups of K queries. The decoder treats groups one like the other; in each,
keypoints see each other, but none of another group.
"""

from collections.abc import Callable

import torch
from torch import Tensor

# From proposals (N, K, 2) to those of further groups (N, G, K, 2).
Noise = Callable[[Tensor], Tensor]

# The official code cuts noise, and what it makes of proposals.
LARGEST_NOISE = 1.0
LIMITS = (-0.7, 1.7)


def random_proposals(proposals: Tensor, groups: int) -> Tensor:
    """The paper's: points uniform in the crop, whatever the proposals (N, K, 2)."""
    return torch.rand_like(proposals[:, None].expand(-1, groups, -1, -1))


def perturbed_proposals(proposals: Tensor, groups: int, per_group: int, variance: float) -> Tensor:
    """The official code's: copies of the proposals, in which a few points are moved.

    Args:
        proposals: (N, K, 2).
        groups: G.
        per_group: how many points of a group are moved on average; which ones is drawn over all groups
            together, and is the same for all crops.
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
        chosen: (S,) int64, which of the G * K points, group by group.
        noise: (N, S, 2), cut before it is added.
        groups: G.

    Returns:
        (N, G, K, 2); the others are copies as they are.
    """
    copies = proposals.repeat(1, groups, 1)
    moved = copies[:, chosen] + noise.clamp(-LARGEST_NOISE, LARGEST_NOISE)
    return copies.index_copy(1, chosen, moved.clamp(*LIMITS)).unflatten(1, (groups, -1))


def no_noise(proposals: Tensor) -> Tensor:
    """No further groups: (N, 0, K, 2)."""
    return proposals[:, None][:, :0]
