"""Training steps lower the losses, and stay finite on hard images."""

from functools import partial

import pytest
import torch
from helpers.image_samples import sample
from helpers.inspose_oracle import OFFICIAL, tiny
from helpers.model_contract import hard_images_train_in_half_precision, losses_after

LOSSES = ("loss_cls", "loss_keypoint", "loss_disk_offset", "loss_heatmap")


def test_training_on_one_image_lowers_the_losses() -> None:
    """A few steps on one image lower every loss."""
    model = tiny()
    optimizer = torch.optim.Adam([p for p in model.parameters() if p.requires_grad], lr=2e-3)
    ratios = losses_after(model, [sample(3, 1)], 30, optimizer)
    for name in LOSSES:
        assert ratios[name] < 0.8, name


@pytest.mark.parametrize(
    ("config", "lr"), [("R_50_36ep.yaml", 0.01), pytest.param(OFFICIAL, 0.02, marks=pytest.mark.long)]
)
def test_hard_images_train_in_half_precision(config: str, lr: float) -> None:
    """The learning rate and the clipping are those of the configuration; `make hard` takes more steps."""
    clip = partial(torch.nn.utils.clip_grad_norm_, max_norm=35.0)
    hard_images_train_in_half_precision(tiny(config=config), lr=lr, clip=clip)
