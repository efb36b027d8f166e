"""A step of two processes is the step of one on their joined batch, also when one has nothing labeled."""

import pytest
import torch
from helpers.model_contract import shares_are_the_whole, step_on
from helpers.person_crops import crop
from helpers.poseur_oracle import tiny
from helpers.support import in_processes


def step(visible: list[bool], share: bool) -> dict[str, dict]:
    """Losses and gradients of one step, on all crops or on this process's share."""
    torch.manual_seed(0)
    model = tiny("MODEL.POSEUR.NOISE.KIND", "none", "MODEL.POSEUR.DROPOUT", 0.0).train()
    model.backbone.eval()
    return step_on(model, [crop(seed, labels) for seed, labels in enumerate(visible)], share)


@pytest.mark.parametrize("visible", [[True] * 4, [False, False, True, True]])
def test_two_processes_are_one_on_the_joined_batch(visible: list[bool]) -> None:
    whole = step(visible, share=False)
    first, second = in_processes(step, 2, visible, True)
    shares_are_the_whole(whole, first, second, tolerance=1e-4)
