"""The reduction of loss terms: normalizers, weights, least counts, several processes."""

import pytest
import torch
from detectron2.utils import comm
from helpers.processes import in_processes
from torch.testing import assert_close

from posecore.modeling.losses import LossTerm, reduce_losses


def reduced(*totals_and_counts: tuple[float, float]) -> dict[str, float]:
    terms = {
        str(i): LossTerm(torch.tensor(total), count) for i, (total, count) in enumerate(totals_and_counts)
    }
    return {name: loss.item() for name, loss in reduce_losses(terms).items()}


def test_a_sum_is_divided_by_its_count_and_weighted() -> None:
    total = torch.tensor(6.0, requires_grad=True)
    terms = {
        "mean": LossTerm(total, 4),
        "weighted": LossTerm(total, torch.tensor(4.0), weight=0.5),
    }
    losses = reduce_losses(terms)
    assert_close(losses, {"mean": torch.tensor(1.5), "weighted": torch.tensor(0.75)})
    losses["weighted"].backward()
    assert total.grad == 0.125


def test_a_count_has_a_least_value() -> None:
    zero = torch.zeros(())
    assert reduce_losses({"nothing": LossTerm(zero, 0)})["nothing"] == 0
    assert reduced((1.0, 0.25))["0"] == 1
    small = {"small": LossTerm(torch.tensor(1.0), 0.25, min_count=1e-6)}
    assert reduce_losses(small)["small"] == 4


def test_a_count_gets_no_gradient() -> None:
    weights = torch.tensor([0.5, 1.5], requires_grad=True)
    loss = reduce_losses({"loss": LossTerm((weights * 3).sum(), weights.sum())})["loss"]
    loss.backward()
    assert_close(weights.grad, torch.tensor([1.5, 1.5]))


def in_rank() -> dict[str, float]:
    rank = comm.get_rank()
    terms = {
        "shared": LossTerm(torch.tensor(2.0 + rank), 3.0 * rank),
        "empty": LossTerm(torch.tensor(0.0), 0),
        "small": LossTerm(torch.tensor(1.0), 0.125 * rank, min_count=1e-6),
    }
    return {name: loss.item() for name, loss in reduce_losses(terms).items()}


def test_processes_share_the_normalizer() -> None:
    """The mean of the losses over two processes is the loss of one process on the joined batch."""
    first, second = in_processes(in_rank, 2)
    mean = {name: (first[name] + second[name]) / 2 for name in first}
    assert mean == pytest.approx({"shared": 5 / 3, "empty": 0, "small": 16})
