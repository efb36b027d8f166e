"""Steps of training: they help, and nothing in a crop makes them blow up."""

import pytest
import torch
from helpers.model_contract import trains_in_half_precision
from helpers.person_crops import SIZE, crop
from helpers.poseur_oracle import tiny


@pytest.mark.parametrize(
    "loss", ["rle", *(pytest.param(loss, marks=pytest.mark.long) for loss in ("rle_official", "l1"))]
)
def test_persons_are_learned_by_heart(loss: str) -> None:
    """A few steps on four crops bring proposals and decoder closer to the ground truth."""
    score = "none" if loss == "l1" else "probability"
    model = tiny("MODEL.POSEUR.LOSS", loss, "MODEL.POSEUR.SCORE", score, "MODEL.POSEUR.NOISE.KIND", "none")
    batch = [crop(seed) for seed in range(4)]
    optimizer = torch.optim.AdamW(model.parameters(), lr=1e-3)
    before = errors(model, batch)
    for _ in range(25):
        optimizer.zero_grad()
        sum(model.train()(batch).values()).backward()
        torch.nn.utils.clip_grad_norm_(model.parameters(), 5.0)
        optimizer.step()
    after = errors(model, batch)
    assert all(after[name] < 0.7 * before[name] for name in before)


def errors(model: torch.nn.Module, batch: list[dict]) -> dict[str, float]:
    """The mean distance of each stage's points from the labeled keypoints, as a share of the crop."""
    keypoints = torch.cat([inputs["instances"].gt_keypoints.tensor for inputs in batch])
    ground_truth, labeled = keypoints[..., :2] / torch.tensor([SIZE[1], SIZE[0]]), keypoints[..., 2] > 0
    with torch.no_grad():
        stages = model.predictions(model.preprocess(batch).tensor).stages
    return {
        name: (prediction.points[:, 0] - ground_truth).norm(dim=-1)[labeled].mean().item()
        for name, prediction in stages.items()
    }


def hard_crops() -> list[dict]:
    """Nothing labeled, one keypoint alone, all in one place, on the border, and a crop of one color."""
    hidden, one, together, border, blank = crop(0, False), *(crop(seed) for seed in range(1, 5))
    one["instances"].gt_keypoints.tensor[0, 1:, 2] = 0
    together["instances"].gt_keypoints.tensor[..., :2] = torch.tensor([20.0, 30.0])
    border["instances"].gt_keypoints.tensor[0] = torch.tensor([48.0, 64.0, 2.0])
    blank["crops"] = torch.full_like(blank["crops"], 255)
    return [hidden, one, together, border, blank]


def leave(parameters: list[torch.nn.Parameter]) -> None:
    """Clips nothing."""


@pytest.mark.parametrize(
    "config", ["R_50_256x192.yaml", pytest.param("official/R_50_256x192.yaml", marks=pytest.mark.long)]
)
def test_hard_crops_train_in_half_precision(config: str) -> None:
    """At the paper's learning rate, without clipping."""
    model = tiny(config=config)
    optimizer = torch.optim.AdamW(model.parameters(), lr=1e-3, weight_decay=1e-4)
    trains_in_half_precision(model, hard_crops(), optimizer, clip=leave)
