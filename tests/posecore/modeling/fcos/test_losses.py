"""The losses of FCOS, by hand."""

import math

import torch
from torch.testing import assert_close

from posecore.modeling.fcos.losses import box_loss, centerness_loss, focal_loss


def test_focal_loss_by_hand() -> None:
    logits, positive = torch.tensor([[2.0, -1.0]]), torch.tensor([[True, False]])
    p, q = 1 / (1 + math.exp(-2)), 1 / (1 + math.exp(1))
    expected = -0.25 * (1 - p) ** 2 * math.log(p) - 0.75 * q**2 * math.log(1 - q)
    loss = focal_loss(logits, positive, alpha=0.25, gamma=2.0)
    assert_close(loss, torch.tensor(expected))


def test_centerness_by_hand() -> None:
    loss = centerness_loss(torch.tensor([0.0, 0.0]), torch.tensor([0.3, 1.0]))
    assert_close(loss, torch.tensor(2 * math.log(2)))


def test_box_loss_weights_locations() -> None:
    ltrb, targets = torch.rand(4, 4) + 0.5, torch.rand(4, 4) + 0.5
    parts = [box_loss(ltrb[i : i + 1], targets[i : i + 1], torch.ones(1), smoothing=0.0) for i in range(4)]
    weights = torch.tensor([0.0, 1.0, 2.0, 0.5])
    whole = box_loss(ltrb, targets, weights, smoothing=0.0)
    assert_close(whole, (torch.stack(parts) * weights).sum())


def test_no_positive_gives_a_zero_loss_with_a_gradient() -> None:
    logits = torch.zeros(0, requires_grad=True)
    ltrb = torch.zeros(0, 4, requires_grad=True)
    loss = centerness_loss(logits, torch.zeros(0))
    loss = loss + box_loss(ltrb, torch.zeros(0, 4), torch.zeros(0), smoothing=1.0)
    loss.backward()
    assert loss.item() == 0
    assert logits.grad is not None
    assert ltrb.grad is not None
