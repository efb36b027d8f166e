"""The flow is a density, and the loss a likelihood."""

import math

import pytest
import torch
from torch.testing import assert_close

from poseur.prediction import Prediction
from poseur.rle import AbsoluteError, FlowLoss, RealNVP, negative_log_likelihood, official_loss


@pytest.fixture(params=["identity", "default"])
def flow(request: pytest.FixtureRequest) -> RealNVP:
    return RealNVP(mean=0.3, init=request.param).double()


def test_the_inverse_undoes_it(flow: RealNVP) -> None:
    points = torch.randn(7, 3, 2, dtype=torch.float64)
    latent, log_det = flow(points)
    assert_close(flow.inverse(latent), points)
    for point, log in zip(points.view(-1, 2), log_det.flatten(), strict=True):
        jacobian = torch.autograd.functional.jacobian(lambda x: flow(x)[0], point)
        assert_close(torch.linalg.det(jacobian).log(), log)


def test_the_density_is_one_in_all(flow: RealNVP) -> None:
    axis = torch.linspace(-8, 8, 321, dtype=torch.float64)
    density = flow.log_prob(torch.cartesian_prod(axis, axis)).exp()
    assert density.sum().item() * (axis[1] - axis[0]).item() ** 2 == pytest.approx(1, abs=1e-3)


def test_a_new_flow_is_nearly_the_latent_distribution() -> None:
    points = torch.randn(50, 2)
    normal = -points.square().sum(dim=1) / 2 - math.log(2 * math.pi)
    assert_close(RealNVP().log_prob(points), normal, atol=1e-3, rtol=1e-3)


def test_likelihood() -> None:
    """Two Laplace densities times the flow's at the error, per keypoint."""
    flow = RealNVP()
    prediction = Prediction(torch.rand(4, 5, 2), torch.rand(4, 5, 2) + 0.1)
    target = torch.rand(4, 5, 2)
    laplace = torch.distributions.Laplace(prediction.points, prediction.scales).log_prob(target).sum(dim=-1)
    learned = flow.log_prob((target - prediction.points) / prediction.scales)
    assert_close(negative_log_likelihood(prediction, target, flow), -laplace - learned)


@pytest.mark.parametrize("loss", [negative_log_likelihood, official_loss])
def test_scales_are_learned(loss: object) -> None:
    """Of errors of a known size, by gradient descent on the scale and the flow."""
    torch.manual_seed(0)
    criterion = FlowLoss(RealNVP(), loss)
    errors = torch.distributions.Laplace(0.0, 0.05).sample((512, 1, 2))
    logits = torch.zeros(2, requires_grad=True)
    optimizer = torch.optim.Adam([{"params": [logits], "lr": 0.1}, {"params": criterion.parameters()}])
    first = None
    for _ in range(60):
        scales = logits.sigmoid().expand_as(errors)
        value = criterion(Prediction(torch.zeros_like(errors), scales), errors).mean()
        first = first or value.item()
        optimizer.zero_grad()
        value.backward()
        optimizer.step()
    assert value.item() < first - 0.5
    assert (logits.sigmoid() < 0.25).all()


def test_absolute_error() -> None:
    prediction = Prediction(torch.tensor([[[0.1, 0.5]]]), torch.ones(1, 1, 2))
    assert_close(AbsoluteError()(prediction, torch.tensor([[[0.3, 0.4]]])), torch.tensor([[0.3]]))
