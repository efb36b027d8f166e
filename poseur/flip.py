"""The flip test: a crop is looked at flipped, too, and both results are fused.

Letters: M crops, K keypoints.
"""

from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Tensor

from poseur.prediction import Prediction

# How strongly a higher score counts in the weighted fusion, and what is added to the sum of its weights.
POWER = 5
EPSILON = 1e-10


@dataclass(frozen=True)
class Scored:
    """Keypoints with their scores.

    Attributes:
        points: (M, K, 2), shares of the crop's width and height.
        scores: (M, K).
    """

    points: Tensor
    scores: Tensor


# From the results of a crop and of its flipped image, flipped back, to one.
Fusion = Callable[[Scored, Scored], Scored]


def unflip(prediction: Prediction, flip_indices: tuple[int, ...]) -> Prediction:
    """What was predicted on a flipped crop, on the crop itself: x -> 1 - x, and left is right.

    Args:
        prediction: (M, K, 2).
        flip_indices: the keypoint that each becomes (``Skeleton.flip_indices``).
    """
    swapped = prediction[:, list(flip_indices)]
    x, y = swapped.points.unbind(dim=-1)
    return Prediction(torch.stack([1 - x, y], dim=-1), swapped.scales)


def mean_fusion(plain: Scored, flipped: Scored) -> Scored:
    """The means of both; "default" of the official code."""
    return Scored((plain.points + flipped.points) / 2, (plain.scores + flipped.scores) / 2)


def agreement_fusion(plain: Scored, flipped: Scored) -> Scored:
    """Points weighted by score; the score falls where the two disagree; "type1" of the official code."""
    scores = plain.scores * flipped.scores * (1 - (plain.scores - flipped.scores).abs())
    return Scored(_weighted(plain, flipped, plain.scores, flipped.scores), scores.square())


def power_fusion(plain: Scored, flipped: Scored) -> Scored:
    """Points weighted by the fifth power of the score; mean scores.

    Of the official "type2" it is the form that depends on the ratio of the scores alone.
    """
    best = torch.maximum(plain.scores, flipped.scores) + EPSILON
    weights = [((scored.scores + EPSILON) / best) ** POWER for scored in (plain, flipped)]
    return Scored(_weighted(plain, flipped, *weights), (plain.scores + flipped.scores) / 2)


def official_power_fusion(plain: Scored, flipped: Scored) -> Scored:
    """The same as "type2" of the official code has it: low scores draw points to the crop's corner."""
    weights = [scored.scores**POWER for scored in (plain, flipped)]
    return Scored(_weighted(plain, flipped, *weights), (plain.scores + flipped.scores) / 2)


def _weighted(plain: Scored, flipped: Scored, weight: Tensor, flipped_weight: Tensor) -> Tensor:
    total = (weight + flipped_weight + EPSILON)[..., None]
    return (plain.points * weight[..., None] + flipped.points * flipped_weight[..., None]) / total
