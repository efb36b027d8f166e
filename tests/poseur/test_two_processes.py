"""A step of two processes is the step of one on their joined batch, also when one has nothing labelled."""

import pytest
import torch
from cut_out import crop
from detectron2.utils import comm
from poseur_oracle import tiny
from support import in_processes
from torch.nn.parallel import DistributedDataParallel
from torch.testing import assert_close


def step(visible: list[bool], share: bool) -> dict[str, dict]:
    """Losses and gradients of one step, on all crops or on this process's share."""
    torch.manual_seed(0)
    model = tiny("MODEL.POSEUR.NOISE.KIND", "none", "MODEL.POSEUR.DROPOUT", 0.0).train()
    model.backbone.eval()
    batch = [crop(seed, labels) for seed, labels in enumerate(visible)]
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


@pytest.mark.parametrize("visible", [[True] * 4, [False, False, True, True]])
def test_two_processes_are_one_on_the_joined_batch(visible: list[bool]) -> None:
    whole = step(visible, share=False)
    first, second = in_processes(step, 2, visible, True)
    for name, loss in whole["losses"].items():
        assert (first["losses"][name] + second["losses"][name]) / 2 == pytest.approx(loss, rel=1e-4, abs=1e-6)
    assert first["gradients"].keys() == whole["gradients"].keys()
    for name, gradient in whole["gradients"].items():
        scale = gradient.abs().max().item()
        assert_close(first["gradients"][name], gradient, rtol=1e-4, atol=1e-4 * max(scale, 1e-3))
        assert torch.equal(first["gradients"][name], second["gradients"][name])
