"""From feature vectors to points and scales."""

import copy

import torch
from torch import Tensor, nn

from poseur.prediction import Prediction

# The scales of a new model are close to sigmoid(0).
SCALE_GAIN = 0.01
# Points are kept so far from the border when their logit is taken.
EPSILON = 1e-5
# A pooled vector shorter than this is taken for one of this length.
LEAST_NORM = 1e-12


def mlp(channels: int, out_channels: int) -> nn.Sequential:
    """Three linear layers with ReLU between them."""
    return nn.Sequential(
        *(nn.Linear(channels, channels), nn.ReLU()),
        *(nn.Linear(channels, channels), nn.ReLU()),
        nn.Linear(channels, out_channels),
    )


class ScaleHead(nn.Module):
    """Scales between 0 and 1, from three linear layers without anything between them.

    Args:
        channels: of the feature vectors.
    """

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.layers = nn.Sequential(*(nn.Linear(channels, width) for width in (channels, channels, 2)))
        nn.init.xavier_uniform_(self.layers[-1].weight, gain=SCALE_GAIN)  # type: ignore[arg-type]

    def forward(self, features: Tensor) -> Tensor:
        """(..., channels) -> (..., 2)."""
        return self.layers(features).sigmoid()


class UnitScale(nn.Module):
    """Where no scale is learned, it is 1.

    Args:
        num_scales: how many for each feature vector.
    """

    def __init__(self, num_scales: int) -> None:
        super().__init__()
        self.num_scales = num_scales

    def forward(self, features: Tensor) -> Tensor:
        """(..., channels) -> (..., num_scales)."""
        return features.new_ones(*features.shape[:-1], self.num_scales)


class NormalizedLinear(nn.Linear):
    """A linear layer whose product is divided by the length of what comes in; the bias is not."""

    def forward(self, features: Tensor) -> Tensor:
        """(..., in) -> (..., out)."""
        length = features.norm(dim=-1, keepdim=True).clamp(min=LEAST_NORM)
        return features @ self.weight.T / length + self.bias


class CoarseHead(nn.Module):
    """Points and scales of all keypoints from one pooled vector, as in RLE (section 3.1).

    Args:
        channels: of the vector.
        num_keypoints: K.
        learn_scales: whether scales are predicted; else they are 1.
        gain: of Xavier's distribution, from which both layers are drawn.
    """

    def __init__(self, channels: int, num_keypoints: int, *, learn_scales: bool, gain: float) -> None:
        super().__init__()
        self.points = NormalizedLinear(channels, 2 * num_keypoints)
        nn.init.xavier_uniform_(self.points.weight, gain=gain)
        if learn_scales:
            linear = nn.Linear(channels, 2 * num_keypoints)
            nn.init.xavier_uniform_(linear.weight, gain=gain)
            self.scales: nn.Module = nn.Sequential(linear, nn.Sigmoid())
        else:
            self.scales = UnitScale(2 * num_keypoints)

    def forward(self, pooled: Tensor) -> Prediction:
        """(..., channels) -> (..., K, 2)."""
        return Prediction(
            self.points(pooled).unflatten(-1, (-1, 2)), self.scales(pooled).unflatten(-1, (-1, 2))
        )


class RefinementHead(nn.Module):
    """What a decoder layer makes of its queries: where to look next, and a prediction.

    The prediction's points are the new references plus an unbounded offset, so that they can leave the
    image. Both networks start equal.

    Args:
        channels: of the queries.
        learn_scales: whether scales are predicted; else they are 1.
    """

    def __init__(self, channels: int, *, learn_scales: bool) -> None:
        super().__init__()
        self.references = mlp(channels, 2)
        self.offsets = copy.deepcopy(self.references)
        self.scales = ScaleHead(channels) if learn_scales else UnitScale(2)

    def forward(self, queries: Tensor, references: Tensor) -> tuple[Tensor, Prediction]:
        """Queries (..., E), references (..., 2) -> references of the next layer, and the prediction."""
        moved = (self.references(queries) + inverse_sigmoid(references)).sigmoid()
        return moved, Prediction(moved + self.offsets(queries), self.scales(queries))


def inverse_sigmoid(points: Tensor) -> Tensor:
    """log(x / (1 - x)) of x in [0, 1], finite; values outside count as the nearest inside."""
    inside = points.clamp(0, 1)
    return torch.log(inside.clamp(min=EPSILON) / (1 - inside).clamp(min=EPSILON))
