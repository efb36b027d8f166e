"""A single update: what it computes, and when it refuses."""

import math

import pytest
import torch
from detectron2.utils import comm
from helpers.processes import in_processes
from torch import nn

from posecore.engine.step import TrainingStep
from posecore.engine.trainer import distribute


class Model(nn.Module):
    """The loss is the weight times the numbers of the batch."""

    def __init__(self):
        super().__init__()
        self.weight = nn.Parameter(torch.ones(2))

    def forward(self, batch):
        numbers = torch.stack([sample["number"] for sample in batch]).mean(0)
        return {"loss_a": self.weight[0] * numbers[0], "loss_b": (self.weight[1] * numbers[1]).sum()}


def batch(*numbers):
    return [{"number": torch.tensor(pair), "file_name": f"{i}.jpg"} for i, pair in enumerate(numbers)]


def make(model=None, **options):
    model = model or Model()
    return TrainingStep(model, torch.optim.SGD(model.parameters(), lr=0.1), **options)


def test_update_and_metrics():
    step = make()
    metrics = step(batch([2.0, 6.0], [4.0, 2.0]))
    expected = {"loss_a": 3.0, "loss_b": 4.0, "total_loss": 7.0, "grad_norm": 5.0}
    assert metrics == pytest.approx(expected)
    torch.testing.assert_close(step.model.weight.data, torch.tensor([0.7, 0.6]))
    step(batch([1.0, 0.0]))  # gradients do not add up
    torch.testing.assert_close(step.model.weight.data, torch.tensor([0.6, 0.6]))


def test_gradients_are_clipped_after_the_norm_is_taken():
    step = make(clip_gradients=lambda parameters: nn.utils.clip_grad_value_(parameters, 1.0))
    assert step(batch([3.0, 4.0]))["grad_norm"] == pytest.approx(5.0)
    torch.testing.assert_close(step.model.weight.data, torch.tensor([0.9, 0.9]))


class Types(nn.Module):
    """Records the type that a layer computes in."""

    def __init__(self):
        super().__init__()
        self.layer = nn.Linear(2, 1)
        self.seen = None

    def forward(self, batch):
        numbers = torch.stack([sample["number"] for sample in batch])
        output = self.layer(numbers.to(self.layer.weight.device))
        self.seen = output.dtype
        return {"loss": output.float().square().mean()}


needs_gpu = pytest.mark.skipif(not torch.cuda.is_available(), reason="no GPU")


@pytest.mark.parametrize("device", ["cpu", pytest.param("cuda", marks=needs_gpu)])
@pytest.mark.parametrize("dtype", [None, torch.bfloat16, torch.float16])
def test_autocast(dtype, device):
    model = Types().to(device)
    step = make(model, amp_dtype=dtype)
    before = model.layer.weight.clone()
    step(batch([1.0, 2.0]))
    assert model.seen == (dtype or torch.float32)
    assert model.layer.weight.dtype == torch.float32
    assert not torch.equal(model.layer.weight, before)
    assert step.scaler.is_enabled() == (dtype == torch.float16)


def test_clipping_sees_unscaled_gradients_in_float16():
    seen = []

    def look(parameters):
        seen.extend(parameter.grad.clone() for parameter in parameters)

    make(amp_dtype=torch.float16, clip_gradients=look)(batch([3.0, 4.0]))
    torch.testing.assert_close(seen[0], torch.tensor([3.0, 4.0]))


def test_overflow_in_float16_updates_nothing_and_lowers_the_scale():
    step = make(amp_dtype=torch.float16)
    scale = step.scaler.get_scale()
    metrics = step(batch([1e34, 0.0]))
    assert "grad_norm" not in metrics
    assert step.model.weight.tolist() == [1.0, 1.0]
    assert step.scaler.get_scale() < scale


@pytest.mark.parametrize("value", [math.nan, math.inf])
def test_loss_that_is_not_finite(value):
    step = make()
    with pytest.raises(FloatingPointError, match=r"a loss is not finite.*'loss_a': (nan|inf).*0.jpg, 1.jpg"):
        step(batch([value, 0.0], [0.0, 0.0]))
    assert step.model.weight.tolist() == [1.0, 1.0]


class Steep(Model):
    def forward(self, batch):
        return {"loss": (self.weight - 1).abs().sqrt().sum()}  # 0, with an infinite gradient


def test_gradient_that_is_not_finite():
    step = make(Steep())
    with pytest.raises(FloatingPointError, match=r"losses are finite.*'loss': 0.0.*gradient is not.*0.jpg"):
        step(batch([0.0, 0.0]))
    assert step.model.weight.tolist() == [1.0, 1.0]


def step_in_process(numbers):
    """One step on this process's number; what it returned or raised, and the weights then."""
    step = make(distribute(Model()))
    try:
        result = step(batch([numbers[comm.get_rank()], 1.0]))
    except FloatingPointError as error:
        result = str(error)
    return result, step.model.module.weight.detach()


def steps_in_process():
    return [step_in_process([0.0, 2.0]), step_in_process([0.0, math.nan])]


def test_processes_share_losses_and_gradients_and_stop_together():
    (good, bad), (good_too, bad_too) = in_processes(steps_in_process, 2)
    for metrics, weight in (good, good_too):
        assert metrics["loss_a"] == pytest.approx(1.0)  # the mean of 0 and 2
        assert metrics["total_loss"] == pytest.approx(2.0)
        torch.testing.assert_close(weight, torch.tensor([0.9, 0.9]))
    assert "the images are those of another process" in bad[0]
    assert "the images are 0.jpg" in bad_too[0]
    assert bad[1].tolist() == bad_too[1].tolist() == [1.0, 1.0]
