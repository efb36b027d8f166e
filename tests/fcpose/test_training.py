"""Steps of training: they help, and nothing in a picture makes them blow up."""

import os

import pytest
import torch
from fcpose_oracle import tiny
from people import sample


def test_a_person_is_learned_by_heart() -> None:
    """A few steps on one picture lower every loss."""
    model = tiny().train()
    batch = [sample(3, 1)]
    optimizer = torch.optim.Adam([p for p in model.parameters() if p.requires_grad], lr=2e-3)
    history = []
    for _ in range(30):
        losses = model(batch)
        history.append({name: loss.item() for name, loss in losses.items()})
        optimizer.zero_grad()
        sum(losses.values()).backward()
        optimizer.step()
    assert history[-1]["loss_heatmap"] < 0.7 * history[0]["loss_heatmap"]
    assert history[-1]["loss_offset"] < 0.7 * history[0]["loss_offset"]


def hard_pictures() -> list[dict]:
    """A crowd, persons of one pixel, persons without visible keypoints, keypoints on the border, nobody."""
    crowd, dots, hidden, border, nobody = (sample(i, n) for i, n in enumerate((40, 6, 4, 3, 0)))
    people = dots["instances"]
    people.gt_boxes.tensor[:, 2:] = people.gt_boxes.tensor[:, :2] + 1
    people.gt_keypoints.tensor[..., :2] = people.gt_boxes.tensor[:, None, :2] + 0.5
    hidden["instances"].gt_keypoints.tensor[..., 2] = 0
    border["instances"].gt_keypoints.tensor[..., :2] = torch.tensor([128.0, 96.0])
    return [crowd, dots, hidden, border, nobody]


@pytest.mark.parametrize("config", ["R_50_1x.yaml", "official/R_50_3x.yaml"])
def test_hard_pictures_train_in_half_precision(config: str) -> None:
    """At the stated learning rate and clipping; `make hard` is the long form."""
    model = tiny(config=config).train()
    parameters = [p for p in model.parameters() if p.requires_grad]
    optimizer = torch.optim.SGD(parameters, lr=0.01, momentum=0.9, weight_decay=1e-4)
    pictures = hard_pictures()
    for step in range(int(os.environ.get("POSECORE_HARD_STEPS", "15"))):
        batch = [pictures[step % 5], pictures[(2 * step + 1) % 5]]
        with torch.autocast("cpu", dtype=torch.bfloat16):
            losses = model(batch)
        assert all(loss.isfinite() for loss in losses.values()), f"step {step}: {losses}"
        optimizer.zero_grad()
        sum(losses.values()).backward()
        assert all(p.grad.isfinite().all() for p in parameters), f"step {step}"
        torch.nn.utils.clip_grad_value_(parameters, 1.0)
        optimizer.step()
