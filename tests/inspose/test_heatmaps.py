"""The auxiliary heatmaps of InsPose: radii, targets, and CornerNet's loss."""

import math

import pytest
import torch
from torch.testing import assert_close

from inspose.heatmaps import heatmap_errors, heatmap_targets, radius_of


@pytest.mark.parametrize(("side", "radius"), [(0, 0), (41, 0), (42, 1), (82, 1), (84, 2), (124, 3), (900, 3)])
def test_radii_grow_with_the_box(side: int, radius: int) -> None:
    """The sides are in pixels, for heatmaps at stride 4 as in the official code."""
    assert radius_of(torch.tensor([[3.0, 5.0, 3 + side / 4, 5 + side / 4]])).tolist() == [radius]


def test_a_labeled_keypoint_has_its_peak_even_on_the_border() -> None:
    persons = torch.tensor([[[64.0, 48.0, 2.0], [20.0, 20.0, 0.0], [0.0, 9.0, 1.0]]])
    boxes = torch.tensor([[0.0, 9.0, 64.0, 48.0]])
    targets = heatmap_targets([persons, persons[:0]], [boxes, boxes[:0]], (6, 8), 8)
    assert targets.shape == (2, 3, 6, 8)
    assert (targets == 1).nonzero().tolist() == [[0, 0, 5, 7], [0, 2, 1, 0]]
    assert targets[1].sum() == 0


def test_the_loss_equals_that_of_cornernet() -> None:
    probability = torch.tensor([0.9, 0.9, 0.2, 0.2])
    targets = torch.tensor([1.0, 0.0, 1.0, 0.5])
    expected = [
        -math.log(0.9) * 0.1**2,
        -math.log(0.1) * 0.9**2,
        -math.log(0.2) * 0.8**2,
        -math.log(0.8) * 0.2**2 * 0.5**4,
    ]
    assert_close(heatmap_errors(probability.logit(), targets), torch.tensor(expected))


def test_the_loss_and_its_gradient_are_finite_for_large_logits() -> None:
    logits = torch.tensor([-60.0, 60.0], requires_grad=True)
    errors = heatmap_errors(logits, torch.tensor([1.0, 0.0]))
    errors.sum().backward()
    assert_close(errors, torch.tensor([60.0, 60.0]))
    assert_close(logits.grad, torch.tensor([-1.0, 1.0]))
