"""Normalizers of one process; what two make of them is tested with each method's losses."""

import torch
from torch.testing import assert_close

from posecore.modeling.losses import mean_over_processes


def test_normalizers_of_one_process_are_its_totals_and_at_least_the_floor() -> None:
    normalizers = mean_over_processes({"a": 3, "b": torch.tensor(0.25, requires_grad=True), "c": 0})
    assert_close(torch.stack(list(normalizers.values())), torch.tensor([3.0, 1.0, 1.0]))
    assert not normalizers["b"].requires_grad
