"""Heads of Poseur: :class:`CoarseHead` and :class:`RefinementHead`, from feature vectors to predictions."""

import copy
from collections.abc import Callable
from functools import partial

import torch
from detectron2.config import CfgNode
from torch import Tensor, nn

from posecore.config.options import choice
from poseur.prediction import Prediction

# Gain of Xavier's distribution for the layers that predict proposals, with MODEL.POSEUR.INIT "repaired".
COARSE_GAIN = 0.01
# Gain of the last layer of refined scales, which start close to sigmoid(0).
SCALE_GAIN = 0.01
# Points are clamped to this distance from the border before their logit is taken.
EPSILON = 1e-5
# The least length that a pooled vector is divided by.
MIN_NORM = 1e-12


def mlp(channels: int, out_channels: int) -> nn.Sequential:
    """Three linear layers with ReLU between them."""
    return nn.Sequential(
        nn.Linear(channels, channels),
        nn.ReLU(),
        nn.Linear(channels, channels),
        nn.ReLU(),
        nn.Linear(channels, out_channels),
    )


class NormalizedLinear(nn.Linear):
    """A linear layer whose product is divided by the length of its input; the bias is added after that.

    Args:
        channels: of the input.
        out_channels: of the output.
        gain: of Xavier's distribution, from which the weight is drawn.
    """

    def __init__(self, channels: int, out_channels: int, gain: float) -> None:
        super().__init__(channels, out_channels)
        nn.init.xavier_uniform_(self.weight, gain=gain)

    def forward(self, features: Tensor) -> Tensor:
        """(..., channels) -> (..., out_channels)."""
        length = features.norm(dim=-1, keepdim=True).clamp(min=MIN_NORM)
        return features @ self.weight.T / length + self.bias


def linear_scales(channels: int, num_scales: int, gain: float) -> nn.Sequential:
    """Scales between 0 and 1 from one linear layer, whose weight is drawn with ``gain``."""
    linear = nn.Linear(channels, num_scales)
    nn.init.xavier_uniform_(linear.weight, gain=gain)
    return nn.Sequential(linear, nn.Sigmoid())


class RefinedScales(nn.Module):
    """Scales between 0 and 1 from three linear layers without activations between them.

    Args:
        channels: of the feature vectors.
    """

    def __init__(self, channels: int) -> None:
        super().__init__()
        first, second, last = (nn.Linear(channels, width) for width in (channels, channels, 2))
        nn.init.xavier_uniform_(last.weight, gain=SCALE_GAIN)
        self.layers = nn.Sequential(first, second, last)

    def forward(self, features: Tensor) -> Tensor:
        """(..., channels) -> (..., 2)."""
        return self.layers(features).sigmoid()


class UnitScales(nn.Module):
    """Scales that are 1, for losses that learn no scales.

    Args:
        num_scales: the number of scales of each feature vector.
    """

    def __init__(self, num_scales: int) -> None:
        super().__init__()
        self.num_scales = num_scales

    def forward(self, features: Tensor) -> Tensor:
        """(..., channels) -> (..., num_scales)."""
        return features.new_ones(*features.shape[:-1], self.num_scales)


class CoarseHead(nn.Module):
    """Predicts the proposals of all keypoints from one pooled vector, as RLE does (section 3.1).

    Args:
        points: from the pooled vector (..., C) to coordinates (..., 2 * K).
        scales: from the pooled vector (..., C) to scales (..., 2 * K).
    """

    def __init__(self, points: nn.Module, scales: nn.Module) -> None:
        super().__init__()
        self.points = points
        self.scales = scales

    @classmethod
    def from_config(cls, cfg: CfgNode, channels: int, num_keypoints: int) -> "CoarseHead":
        """The head of MODEL.POSEUR for pooled vectors with ``channels`` channels."""
        gain = choice(cfg, "MODEL.POSEUR.INIT", {"repaired": COARSE_GAIN, "official": 1.0})
        learned = partial(linear_scales, channels, 2 * num_keypoints, gain)
        scales: dict[str, Callable[[], nn.Module]] = {
            "rle": learned,
            "rle_official": learned,
            "l1": partial(UnitScales, 2 * num_keypoints),
        }
        return cls(
            points=NormalizedLinear(channels, 2 * num_keypoints, gain),
            scales=choice(cfg, "MODEL.POSEUR.LOSS", scales)(),
        )

    def forward(self, pooled: Tensor) -> Prediction:
        """(..., C) -> (..., K, 2)."""
        return Prediction(
            self.points(pooled).unflatten(-1, (-1, 2)), self.scales(pooled).unflatten(-1, (-1, 2))
        )


class RefinementHead(nn.Module):
    """Predicts from a decoder layer's queries, and moves their reference points.

    The prediction's points are the new references plus an unbounded offset, so that they can leave the
    image.

    Args:
        references: from queries (..., E) to moves of their references, in logits (..., 2). The network of
            the offsets starts as a copy of it.
        scales: from queries (..., E) to scales (..., 2).
    """

    def __init__(self, references: nn.Module, scales: nn.Module) -> None:
        super().__init__()
        self.references = references
        self.offsets = copy.deepcopy(references)
        self.scales = scales

    @classmethod
    def from_config(cls, cfg: CfgNode) -> "RefinementHead":
        """The head of MODEL.POSEUR."""
        width = cfg.MODEL.POSEUR.WIDTH
        learned = partial(RefinedScales, width)
        scales: dict[str, Callable[[], nn.Module]] = {
            "rle": learned,
            "rle_official": learned,
            "l1": partial(UnitScales, 2),
        }
        return cls(references=mlp(width, 2), scales=choice(cfg, "MODEL.POSEUR.LOSS", scales)())

    def forward(self, queries: Tensor, references: Tensor) -> tuple[Tensor, Prediction]:
        """Queries (..., E), references (..., 2) -> references of the next layer, and the prediction."""
        moved = (self.references(queries) + inverse_sigmoid(references)).sigmoid()
        return moved, Prediction(moved + self.offsets(queries), self.scales(queries))


def inverse_sigmoid(points: Tensor) -> Tensor:
    """log(x / (1 - x)), finite; values outside [0, 1] are clamped to it."""
    inside = points.clamp(0, 1)
    return torch.log(inside.clamp(min=EPSILON) / (1 - inside).clamp(min=EPSILON))
