"""Steps of training: they help, and nothing in an image makes them blow up."""

from functools import partial

import pytest
import torch
from helpers.image_samples import sample
from helpers.inspose_oracle import OFFICIAL, tiny
from helpers.model_contract import hard_images_train_in_half_precision, losses_after

LOSSES = ("loss_cls", "loss_keypoint", "loss_disk_offset", "loss_heatmap")


def test_a_person_is_learned_by_heart() -> None:
    """A few steps on one image lower every loss."""
    model = tiny()
    optimizer = torch.optim.Adam([p for p in model.parameters() if p.requires_grad], lr=2e-3)
    left = losses_after(model, [sample(3, 1)], 30, optimizer)
    for name in LOSSES:
        assert left[name] < 0.8, name


@pytest.mark.parametrize(("config", "lr"), [("R_50_36ep.yaml", 0.01), (OFFICIAL, 0.02)])
def test_hard_images_train_in_half_precision(config: str, lr: float) -> None:
    """At the stated learning rate and clipping; `make hard` is the long form."""
    clip = partial(torch.nn.utils.clip_grad_norm_, max_norm=35.0)
    hard_images_train_in_half_precision(tiny(config=config), lr=lr, clip=clip)
