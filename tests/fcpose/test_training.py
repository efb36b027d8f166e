"""Steps of training: they help, and nothing in a picture makes them blow up."""

from functools import partial

import pytest
import torch
from behaviour import hard_pictures_train_in_half_precision, losses_after
from fcpose_oracle import tiny
from people import sample


def test_a_person_is_learned_by_heart() -> None:
    """A few steps on one picture lower every loss."""
    model = tiny()
    optimizer = torch.optim.Adam([p for p in model.parameters() if p.requires_grad], lr=2e-3)
    left = losses_after(model, [sample(3, 1)], 30, optimizer)
    assert left["loss_heatmap"] < 0.7
    assert left["loss_offset"] < 0.7


@pytest.mark.parametrize("config", ["R_50_1x.yaml", "official/R_50_3x.yaml"])
def test_hard_pictures_train_in_half_precision(config: str) -> None:
    """At the stated learning rate and clipping; `make hard` is the long form."""
    clip = partial(torch.nn.utils.clip_grad_value_, clip_value=1.0)
    hard_pictures_train_in_half_precision(tiny(config=config), lr=0.01, clip=clip)
