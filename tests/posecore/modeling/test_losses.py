"""Divisors of one process; what two make of them is tested with each method's losses."""

import torch
from torch.testing import assert_close

from posecore.modeling.losses import mean_over_processes


def test_divisors_of_one_process_are_its_totals_and_at_least_the_floor() -> None:
    divisors = mean_over_processes({"a": 3, "b": torch.tensor(0.25, requires_grad=True), "c": 0})
    assert_close(torch.stack(list(divisors.values())), torch.tensor([3.0, 1.0, 1.0]))
    assert not divisors["b"].requires_grad
