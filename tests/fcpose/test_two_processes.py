"""A step of two processes is the step of one on their joined batch, also when one has no person."""

import pytest
import torch
from detectron2.utils import comm
from fcpose_oracle import tiny
from people import sample
from support import in_processes
from torch.nn.parallel import DistributedDataParallel
from torch.testing import assert_close


def step(people: list[int], share: bool) -> dict[str, dict[str, float]]:
    """Losses and gradients of one step on pictures with so many persons, all or this process's share."""
    torch.manual_seed(0)
    model = tiny("MODEL.FCPOSE.AUXILIARY", True, "MODEL.FCPOSE.MAX_POSITIVES", 1000).train()
    batch = [sample(index, count) for index, count in enumerate(people)]
    if share:
        half = len(batch) // comm.get_world_size()
        batch = batch[comm.get_rank() * half :][:half]
        # Held by a name: the reduction of gradients ends with the wrapper.
        wrapped = DistributedDataParallel(model)
        losses = wrapped(batch)
    else:
        losses = model(batch)
    sum(losses.values()).backward()
    return {
        "losses": {name: loss.item() for name, loss in losses.items()},
        "gradients": {name: p.grad for name, p in model.named_parameters() if p.grad is not None},
    }


@pytest.mark.parametrize("people", [[2, 1, 3, 2], [0, 0, 1, 2]])
def test_two_processes_are_one_on_the_joined_batch(people: list[int]) -> None:
    whole = step(people, share=False)
    first, second = in_processes(step, 2, people, True)
    for name, loss in whole["losses"].items():
        mean = (first["losses"][name] + second["losses"][name]) / 2
        assert mean == pytest.approx(loss, rel=1e-5, abs=1e-6)
    assert first["gradients"].keys() == whole["gradients"].keys()
    for name, gradient in whole["gradients"].items():
        scale = gradient.abs().max().item()
        assert_close(first["gradients"][name], gradient, rtol=1e-5, atol=1e-5 * max(scale, 1e-3))
        assert torch.equal(first["gradients"][name], second["gradients"][name])
