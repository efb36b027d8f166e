"""Steps of training: they help, and nothing in a picture makes them blow up."""

from functools import partial

import pytest
import torch
from behaviour import hard_pictures_train_in_half_precision, losses_after
from inspose_oracle import RELEASED, tiny
from people import sample

LOSSES = ("loss_cls", "loss_keypoint", "loss_disk_offset", "loss_heatmap")


def test_a_person_is_learned_by_heart() -> None:
    """A few steps on one picture lower every loss."""
    model = tiny()
    optimizer = torch.optim.Adam([p for p in model.parameters() if p.requires_grad], lr=2e-3)
    left = losses_after(model, [sample(3, 1)], 30, optimizer)
    for name in LOSSES:
        assert left[name] < 0.8, name


@pytest.mark.parametrize(("config", "lr"), [("R_50_36ep.yaml", 0.01), (RELEASED, 0.02)])
def test_hard_pictures_train_in_half_precision(config: str, lr: float) -> None:
    """At the stated learning rate and clipping; `make hard` is the long form."""
    clip = partial(torch.nn.utils.clip_grad_norm_, max_norm=35.0)
    hard_pictures_train_in_half_precision(tiny(config=config), lr=lr, clip=clip)
