"""The flip test: the predictions on a crop and on the flipped crop are fused.

Letters: M crops, K keypoints.
"""

from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Tensor

from poseur.prediction import Prediction

# The exponent of the scores in the weights of the power fusions.
POWER = 5
# Added to the sum of the weights.
EPSILON = 1e-10


@dataclass(frozen=True)
class ScoredKeypoints:
    """Keypoints with their scores.

    Attributes:
        points: (M, K, 2), shares of the crop's width and height.
        scores: (M, K).
    """

    points: Tensor
    scores: Tensor


# From the keypoints of a crop and those of the flipped crop, flipped back, to the fused ones.
FlipFusion = Callable[[ScoredKeypoints, ScoredKeypoints], ScoredKeypoints]


def unflip(prediction: Prediction, flip_indices: tuple[int, ...]) -> Prediction:
    """Flips back a prediction on a flipped crop: x becomes 1 - x, and left and right are swapped.

    Args:
        prediction: (M, K, 2).
        flip_indices: the keypoint that each becomes (``Skeleton.flip_indices``).
    """
    swapped = prediction[:, list(flip_indices)]
    x, y = swapped.points.unbind(dim=-1)
    return Prediction(torch.stack([1 - x, y], dim=-1), swapped.scales)


def mean_fusion(plain: ScoredKeypoints, flipped: ScoredKeypoints) -> ScoredKeypoints:
    """The means of points and scores; called "default" in the official code."""
    return ScoredKeypoints((plain.points + flipped.points) / 2, (plain.scores + flipped.scores) / 2)


def agreement_fusion(plain: ScoredKeypoints, flipped: ScoredKeypoints) -> ScoredKeypoints:
    """Points weighted by score; scores that fall where the two disagree; "type1" in the official code."""
    scores = plain.scores * flipped.scores * (1 - (plain.scores - flipped.scores).abs())
    return ScoredKeypoints(_weighted(plain, flipped, plain.scores, flipped.scores), scores.square())


def power_fusion(plain: ScoredKeypoints, flipped: ScoredKeypoints) -> ScoredKeypoints:
    """Points weighted by the fifth power of the score; mean scores.

    It differs from :func:`official_power_fusion` in that it depends on the ratio of the scores alone.
    """
    best = torch.maximum(plain.scores, flipped.scores) + EPSILON
    weights = [((scored.scores + EPSILON) / best) ** POWER for scored in (plain, flipped)]
    return ScoredKeypoints(_weighted(plain, flipped, *weights), (plain.scores + flipped.scores) / 2)


def official_power_fusion(plain: ScoredKeypoints, flipped: ScoredKeypoints) -> ScoredKeypoints:
    """The same as the official code has it, "type2": low scores draw points to the crop's corner."""
    weights = [scored.scores**POWER for scored in (plain, flipped)]
    return ScoredKeypoints(_weighted(plain, flipped, *weights), (plain.scores + flipped.scores) / 2)


def _weighted(
    plain: ScoredKeypoints, flipped: ScoredKeypoints, weight: Tensor, flipped_weight: Tensor
) -> Tensor:
    total = (weight + flipped_weight + EPSILON)[..., None]
    return (plain.points * weight[..., None] + flipped.points * flipped_weight[..., None]) / total
