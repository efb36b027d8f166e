"""Losses of residual log-likelihood estimation (RLE), and the normalizing flow that they learn (RealNVP).

The error of a keypoint, in units of the predicted scale, is modeled by the product of a Laplace distribution
and a learned distribution, which a normalizing flow describes (Poseur, section 3.2; Li et al., "Human Pose
Regression with Residual Log-likelihood Estimation", ICCV 2021). Flows are used in training only.
"""

import math
from collections.abc import Callable
from typing import Literal

import torch
from torch import Tensor, nn

from poseur.prediction import Prediction

# How the weights of a flow's networks are drawn; see RealNVP.
FlowInit = Literal["identity", "default"]
IDENTITY_GAIN = 0.01
# Added to the denominator of the official residual.
EPSILON = 1e-9


class RealNVP(nn.Module):
    """A normalizing flow on the plane (Dinh et al., "Density estimation using Real NVP", ICLR 2017).

    Each coupling scales and shifts one coordinate; two small networks compute scale and shift from the other
    coordinate. The latent distribution is normal with covariance 1.

    Args:
        mean: of both coordinates of the latent distribution.
        couplings: number of couplings, which change the two coordinates in turn.
        width: hidden channels of the networks.
        init: "identity" draws small weights, so that the flow is close to the identity at first; "default"
            keeps the weights that PyTorch draws.
    """

    mask: Tensor

    def __init__(
        self, mean: float = 0.0, couplings: int = 6, width: int = 64, init: FlowInit = "identity"
    ) -> None:
        super().__init__()
        self.mean = mean
        # 1 marks the coordinate that a coupling reads and leaves unchanged.
        kept = torch.tensor([[0.0, 1.0], [1.0, 0.0]]).repeat((couplings + 1) // 2, 1)[:couplings]
        self.register_buffer("mask", kept)
        self.shift = nn.ModuleList(_network(width) for _ in range(couplings))
        self.log_scale = nn.ModuleList(nn.Sequential(*_network(width), nn.Tanh()) for _ in range(couplings))
        if init == "identity":
            for layer in self.modules():
                if isinstance(layer, nn.Linear):
                    nn.init.xavier_uniform_(layer.weight, gain=IDENTITY_GAIN)
                    nn.init.zeros_(layer.bias)

    def forward(self, points: Tensor) -> tuple[Tensor, Tensor]:
        """Points (..., 2) -> latent points (..., 2), and the log-determinant (...) of this map."""
        log_det = points.new_zeros(points.shape[:-1])
        for kept, shift, log_scale in zip(
            reversed(self.mask), reversed(self.shift), reversed(self.log_scale), strict=True
        ):
            moved = 1 - kept
            known = kept * points
            exponent = log_scale(known) * moved
            points = known + moved * (points - shift(known)) * torch.exp(-exponent)
            log_det = log_det - exponent.sum(dim=-1)
        return points, log_det

    def inverse(self, latent: Tensor) -> Tensor:
        """Latent points (..., 2) -> points (..., 2)."""
        points = latent
        for kept, shift, log_scale in zip(self.mask, self.shift, self.log_scale, strict=True):
            moved = 1 - kept
            known = kept * points
            points = known + moved * (points * torch.exp(log_scale(known)) + shift(known))
        return points

    def log_prob(self, points: Tensor) -> Tensor:
        """The log-density (...) at points (..., 2)."""
        latent, log_det = self(points)
        return log_det - (latent - self.mean).square().sum(dim=-1) / 2 - math.log(2 * math.pi)


def _network(width: int) -> nn.Sequential:
    return nn.Sequential(
        nn.Linear(2, width), nn.LeakyReLU(), nn.Linear(width, width), nn.LeakyReLU(), nn.Linear(width, 2)
    )


def negative_log_likelihood(prediction: Prediction, target: Tensor, flow: RealNVP) -> Tensor:
    """-log P of the ground truth (equations 2 and 3), up to the constant that normalizes the product.

    With e = (target - mu) / b the loss of a keypoint is the sum over x and y of log(2 b) + |e|, minus the
    flow's log-density at e. b is the scale of the Laplace distribution, as in equation 7.

    Args:
        prediction: (..., K, 2).
        target: ground truth, which broadcasts to (..., K, 2).
        flow: on the plane of errors.

    Returns:
        (..., K).
    """
    errors = (target - prediction.points) / prediction.scales
    laplace = (torch.log(2 * prediction.scales) + errors.abs()).sum(dim=-1)
    return laplace - flow.log_prob(errors)


def official_loss(prediction: Prediction, target: Tensor, flow: RealNVP) -> Tensor:
    """The loss of the official code of RLE and of Poseur, which is no likelihood.

    It differs from :func:`negative_log_likelihood` in that the error is prediction minus target, the flow's
    log-density and log b are added once per coordinate, and the Laplace distribution has the scale sqrt(2) b
    and the factor of a normal distribution. Arguments and result are the same.
    """
    errors = (prediction.points - target) / prediction.scales
    base = torch.log(prediction.scales * math.sqrt(2 * math.pi)) + (prediction.points - target).abs() / (
        math.sqrt(2) * prediction.scales + EPSILON
    )
    coordinates = torch.log(prediction.scales) - flow.log_prob(errors)[..., None] + base
    return coordinates.sum(dim=-1)


def absolute_error(prediction: Prediction, target: Tensor) -> Tensor:
    """The L1 distance (..., K) of points and target (..., K, 2); scales do not matter."""
    return (prediction.points - target).abs().sum(dim=-1)


class FlowLoss(nn.Module):
    """One of the losses above with its own flow.

    Args:
        flow: learned together with the model.
        loss: :func:`negative_log_likelihood` or :func:`official_loss`.
    """

    def __init__(self, flow: RealNVP, loss: Callable[[Prediction, Tensor, RealNVP], Tensor]) -> None:
        super().__init__()
        self.flow = flow
        self.loss = loss

    def forward(self, prediction: Prediction, target: Tensor) -> Tensor:
        """(..., K, 2) -> (..., K)."""
        return self.loss(prediction, target, self.flow)


class AbsoluteError(nn.Module):
    """:func:`absolute_error` as a module, with the interface of :class:`FlowLoss`."""

    def forward(self, prediction: Prediction, target: Tensor) -> Tensor:
        """(..., K, 2) -> (..., K)."""
        return absolute_error(prediction, target)
