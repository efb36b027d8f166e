"""Losses and gradients of one step on two crops, as the official code computes them."""

from functools import partial
from pathlib import Path
from typing import Any

import pytest
import torch
from detectron2.structures import Instances, Keypoints
from helpers.poseur_oracle import Case, our_names, permutation
from torch import nn

from poseur.noise import perturb

HEIGHT, WIDTH = 256, 192


@pytest.fixture(scope="module")
def case(shared: Path) -> Case:
    return Case(shared, "case_train")


@pytest.fixture(scope="module")
def step(case: Case) -> dict[str, Any]:
    """One forward and backward pass with the case's noise, without dropout, with frozen statistics."""
    model = case.model("official/R_50_256x192.yaml", "MODEL.POSEUR.LOSS_NORMALIZER", "predictions").train()
    model.backbone.eval()
    for module in model.modules():
        if isinstance(module, nn.Dropout):
            module.p = 0.0
        if isinstance(module, nn.MultiheadAttention):
            module.dropout = 0.0
    noise = 0.2**0.5 * case.normal("poseur/train/noise", (2, 3, 4, 2))
    chosen = permutation(case, "poseur/train/perm", 51)[:12]
    model.network.start.noise = partial(perturb, chosen=chosen, noise=noise.flatten(1, 2), groups=3)
    predictions = []
    model.network.register_forward_hook(lambda module, inputs, output: predictions.append(output))

    target = case.uniform("poseur/train/target", (2, 17, 2), 0.02, 0.98)
    visible = (case.uniform("poseur/train/visible", (2, 17, 1)) > 0.25).float()
    keypoints = torch.cat([target * torch.tensor([WIDTH, HEIGHT]), visible], dim=2)
    batch = [
        {"crops": crop[None], "instances": Instances((HEIGHT, WIDTH), gt_keypoints=Keypoints(person[None]))}
        for crop, person in zip(case.image(), keypoints, strict=True)
    ]
    losses = model(batch)
    sum(losses.values()).backward()
    return {"model": model, "batch": batch, "losses": losses, "stages": predictions[0].stages}


def their_name(ours: str) -> str:
    return "enc_rle_loss" if ours == "loss_coarse" else ours.replace("loss_decoder", "dec_rle_loss_")


def test_predictions(case: Case, step: dict[str, Any]) -> None:
    coarse, *layers = step["stages"].values()
    case.check("coarse.mu", coarse.points[:, 0])
    case.check("coarse.sigma", coarse.scales[:, 0])
    case.check("layers.mu", torch.stack([layer.points.flatten(1, 2) for layer in layers]))
    case.check("layers.sigma", torch.stack([layer.scales.flatten(1, 2) for layer in layers]))


def test_losses(case: Case, step: dict[str, Any]) -> None:
    assert {their_name(name) for name in step["losses"]} == case.facts["losses"].keys()
    for name, loss in step["losses"].items():
        assert loss.item() == pytest.approx(case.facts["losses"][their_name(name)], rel=1e-5)
    assert sum(step["losses"].values()).item() == pytest.approx(case.facts["total"], rel=1e-5)


def test_losses_as_when_the_checkpoints_were_trained(case: Case, step: dict[str, Any]) -> None:
    expected = case.facts["losses_2022_normalisation"]
    for name, loss in step["losses"].items():
        per_crop = loss.item() * (17 if name == "loss_coarse" else 4 * 17)
        assert per_crop == pytest.approx(expected[their_name(name)], rel=1e-5)


def test_every_gradient(case: Case, step: dict[str, Any]) -> None:
    ours = our_names(case.state)
    gradients = {name: parameter.grad for name, parameter in step["model"].named_parameters()}
    expected = dict(zip(case.facts["gradient_names"], case.golden["gradient_norm_f64"].tolist(), strict=True))
    assert {ours[name] for name in expected} == gradients.keys()
    deviations = torch.tensor(
        [gradients[ours[name]].norm().item() / norm - 1 for name, norm in expected.items()]
    ).abs()
    assert len(deviations) == 565
    assert deviations.max() < 2e-2
    assert deviations.median() < 1e-4
    for name in (name for name in case.golden if name.startswith("grad/")):
        golden = case.golden[name]
        difference = gradients[ours[name.removeprefix("grad/")]] - golden
        assert difference.norm() < 2e-2 * golden.norm(), name
