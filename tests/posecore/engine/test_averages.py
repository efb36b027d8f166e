"""Moving averages of weights: their values, buffers, and what is not averaged."""

import pytest
import torch
from torch import nn

from posecore.engine.averages import average_model


class Small(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.zeros(2))
        self.register_buffer("statistic", torch.zeros(1))
        self.register_buffer("index", torch.tensor([3]))


def test_ema_is_that_of_its_formula() -> None:
    model = Small()
    averages = average_model(model, decay=0.5)
    expected = 0.0
    for number, value in enumerate([2.0, 4.0, -1.0, 5.0, 0.5, 3.0, 8.0, 1.0, 6.0, 2.0, 4.0, 7.0]):
        model.weight.data.fill_(value)
        model.statistic.fill_(value)
        averages.update_parameters(model)
        keep = min(0.5, (1 + number) / (10 + number)) if number else 0.0
        expected = keep * expected + (1 - keep) * value
        assert averages.module.weight.tolist() == pytest.approx([expected] * 2)
        assert averages.module.statistic.item() == pytest.approx(expected)
        assert averages.module.index.item() == 3
    assert model.weight.tolist() == [7.0, 7.0]


def test_ema_of_constant_weights_is_these_to_the_last_bit() -> None:
    model = nn.Sequential(nn.Conv2d(3, 4, 3), nn.BatchNorm2d(4))
    averages = average_model(model, decay=0.9998)
    for _ in range(5):
        averages.update_parameters(model)
    for name, value in model.state_dict().items():
        assert torch.equal(averages.module.state_dict()[name], value)


@pytest.mark.parametrize("decay", [-0.1, 1.0])
def test_ema_decay_is_checked(decay: float) -> None:
    with pytest.raises(ValueError, match=r"SOLVER.EMA.DECAY must be"):
        average_model(Small(), decay)
