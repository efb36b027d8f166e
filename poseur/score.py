"""How sure the model is: of a keypoint, and of a person.

Letters: M persons, K keypoints.
"""

from collections.abc import Callable

import torch
from torch import Tensor

# From scales (..., K, 2) to scores of keypoints (..., K).
KeypointScore = Callable[[Tensor], Tensor]
# From scores of boxes (M,) and of keypoints (M, K) to scores of persons (M,).
InstanceScore = Callable[[Tensor, Tensor], Tensor]

# Keypoints with a lower score are left out of the official mean.
LEAST_SCORE = 0.2


def probability(scales: Tensor, half_width: float = 0.2, factor: float = 1.0) -> Tensor:
    """The probability that a keypoint is close to where it is predicted (equation 8).

    Args:
        scales: (..., K, 2) of Laplace distributions.
        half_width: a; close is at most so far away, along x and along y, in the unit of the scales.
        factor: on the result; the official code has 0.7.
    """
    return factor * (1 - torch.exp(-half_width / scales)).prod(dim=-1)


def certainty(scales: Tensor) -> Tensor:
    """RLE's score: the mean over x and y of 1 - sigma."""
    return 1 - scales.mean(dim=-1)


def no_score(scales: Tensor) -> Tensor:
    """1 for every keypoint (Table 1c, without uncertainty)."""
    return scales.new_ones(scales.shape[:-1])


def product_score(boxes: Tensor, keypoints: Tensor) -> Tensor:
    """The box's score times the mean of the keypoints' (equation 5)."""
    return boxes * keypoints.mean(dim=-1)


def thresholded_product_score(boxes: Tensor, keypoints: Tensor) -> Tensor:
    """The same with the mean over keypoints above 0.2, as in the official code; 0 if there are none."""
    counted = keypoints > LEAST_SCORE
    mean = (keypoints * counted).sum(dim=-1) / counted.sum(dim=-1).clamp(min=1)
    return boxes * mean


def sum_score(boxes: Tensor, keypoints: Tensor) -> Tensor:
    """The box's score plus the mean and the maximum of the keypoints', as in the official code ("rle_score")."""
    return boxes + keypoints.mean(dim=-1) + keypoints.amax(dim=-1)
