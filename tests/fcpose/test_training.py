"""Training steps lower the losses, and stay finite on hard images."""

from functools import partial

import pytest
import torch
from helpers.fcpose_oracle import tiny
from helpers.image_samples import sample
from helpers.model_contract import hard_images_train_in_half_precision, losses_after


def test_training_on_one_image_lowers_the_losses() -> None:
    """A few steps on one image lower the keypoint losses."""
    model = tiny()
    optimizer = torch.optim.Adam([p for p in model.parameters() if p.requires_grad], lr=2e-3)
    ratios = losses_after(model, [sample(3, 1)], 30, optimizer)
    assert ratios["loss_heatmap"] < 0.7
    assert ratios["loss_offset"] < 0.7


@pytest.mark.parametrize(
    "config", ["R_50_1x.yaml", pytest.param("official/R_50_3x.yaml", marks=pytest.mark.long)]
)
def test_hard_images_train_in_half_precision(config: str) -> None:
    """The learning rate and the clipping are those of the configuration; `make hard` takes more steps."""
    clip = partial(torch.nn.utils.clip_grad_value_, clip_value=1.0)
    hard_images_train_in_half_precision(tiny(config=config), lr=0.01, clip=clip)
