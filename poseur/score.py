"""Confidence scores: of keypoints, from their scales, and of persons, from boxes and keypoints.

:class:`Scores` holds the two functions that the configuration names.

Letters: M persons, K keypoints.
"""

from collections.abc import Callable
from dataclasses import dataclass
from functools import partial

import torch
from detectron2.config import CfgNode
from torch import Tensor

from posecore.config.options import choice

# From scales (..., K, 2) to scores of keypoints (..., K).
KeypointScore = Callable[[Tensor], Tensor]
# From scores of boxes (M,) and of keypoints (M, K) to scores of persons (M,).
InstanceScore = Callable[[Tensor, Tensor], Tensor]

# Keypoints with no higher score are left out of the official code's mean.
MIN_COUNTED_SCORE = 0.2


@dataclass(frozen=True)
class Scores:
    """The functions that score keypoints and persons.

    Attributes:
        keypoint: scores of keypoints, from their scales.
        instance: scores of persons, from those of their boxes and keypoints.
    """

    keypoint: KeypointScore
    instance: InstanceScore

    @classmethod
    def from_config(cls, cfg: CfgNode) -> "Scores":
        """
        Raises:
            ValueError: the score of keypoints needs scales, and MODEL.POSEUR.LOSS learns none.
        """
        return cls(build_keypoint_score(cfg), build_instance_score(cfg))


def build_keypoint_score(cfg: CfgNode) -> KeypointScore:
    """The function that MODEL.POSEUR.SCORE names.

    Raises:
        ValueError: the function needs scales, and MODEL.POSEUR.LOSS learns none.
    """
    node = cfg.MODEL.POSEUR
    if node.LOSS == "l1" and node.SCORE != "none":
        raise ValueError(
            f"MODEL.POSEUR.SCORE must be 'none' with MODEL.POSEUR.LOSS 'l1', which learns no scales, "
            f"not {node.SCORE!r}"
        )
    options: dict[str, KeypointScore] = {
        "probability": partial(probability, half_width=node.SCORE_HALF_WIDTH, factor=node.SCORE_FACTOR),
        "certainty": certainty,
        "none": no_score,
    }
    return choice(cfg, "MODEL.POSEUR.SCORE", options)


def build_instance_score(cfg: CfgNode) -> InstanceScore:
    """The function that MODEL.POSEUR.INSTANCE_SCORE names."""
    options: dict[str, InstanceScore] = {
        "product": product_score,
        "sum": sum_score,
        "thresholded_product": thresholded_product_score,
    }
    return choice(cfg, "MODEL.POSEUR.INSTANCE_SCORE", options)


def probability(scales: Tensor, half_width: float = 0.2, factor: float = 1.0) -> Tensor:
    """The probability that a keypoint is close to its predicted point (equation 8).

    Args:
        scales: (..., K, 2) of Laplace distributions.
        half_width: a of equation 8, the largest distance along x and along y that counts as close, in the
            unit of the scales.
        factor: multiplies the result; 0.7 in the official code.
    """
    return factor * (1 - torch.exp(-half_width / scales)).prod(dim=-1)


def certainty(scales: Tensor) -> Tensor:
    """RLE's score: the mean over x and y of 1 - sigma."""
    return 1 - scales.mean(dim=-1)


def no_score(scales: Tensor) -> Tensor:
    """1 for every keypoint (Table 1c, without uncertainty)."""
    return scales.new_ones(scales.shape[:-1])


def product_score(boxes: Tensor, keypoints: Tensor) -> Tensor:
    """The score of the box times the mean of the keypoints' scores (equation 5)."""
    return boxes * keypoints.mean(dim=-1)


def thresholded_product_score(boxes: Tensor, keypoints: Tensor) -> Tensor:
    """The score of the box times the mean of the keypoints' scores above 0.2, as in the official code.

    0 where no keypoint has such a score.
    """
    counted = keypoints > MIN_COUNTED_SCORE
    mean = (keypoints * counted).sum(dim=-1) / counted.sum(dim=-1).clamp(min=1)
    return boxes * mean


def sum_score(boxes: Tensor, keypoints: Tensor) -> Tensor:
    """The score of the box plus mean and maximum of the keypoints' scores.

    It is called "rle_score" in the official code.
    """
    return boxes + keypoints.mean(dim=-1) + keypoints.amax(dim=-1)
