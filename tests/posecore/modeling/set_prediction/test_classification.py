"""Class costs and class losses against slow obvious ones."""

import math

import pytest
import torch
from torch import Tensor
from torch.testing import assert_close

from posecore.modeling.losses import reduce_losses
from posecore.modeling.set_prediction.classification import (
    NO_OBJECT,
    ClassTargets,
    FocalCost,
    FocalLoss,
    SoftmaxLoss,
    VarifocalLoss,
    softmax_cost,
)

ALPHA, GAMMA = 0.3, 1.5


def logits(*shape: int) -> Tensor:
    return (3 * torch.randn(*shape)).requires_grad_()


def targets(num_images: int, num_queries: int, num_classes: int) -> Tensor:
    """Some classes; every third query has no object."""
    labels = torch.arange(num_images * num_queries) % (num_classes + 1) - 1
    assert NO_OBJECT in labels
    return labels.view(num_images, num_queries)


def class_targets(classes: Tensor, num_persons: float = 0) -> ClassTargets:
    """Classes of matched queries whose poses are perfect."""
    return ClassTargets(classes, (classes != NO_OBJECT).float(), num_persons)


def sigmoid(x: float) -> float:
    return 1 / (1 + math.exp(-x))


def test_softmax_cost_is_minus_the_probability() -> None:
    values, labels = logits(2, 4, 5, 3), torch.tensor([1, 0, 1, 1])
    costs = softmax_cost(values, labels)
    assert costs.shape == (2, 4, 5)
    for layer in range(2):
        for person, label in enumerate(labels.tolist()):
            for query in range(5):
                powers = [math.exp(x) for x in values[layer, person, query].tolist()]
                expected = -powers[label] / sum(powers)
                assert costs[layer, person, query].item() == pytest.approx(expected, rel=1e-5)


def test_focal_cost_is_the_formula() -> None:
    values, labels = logits(2, 4, 5, 2), torch.tensor([1, 0, 1, 1])
    costs = FocalCost(ALPHA, GAMMA)(values, labels)
    assert costs.shape == (2, 4, 5)
    for layer in range(2):
        for person, label in enumerate(labels.tolist()):
            for query in range(5):
                p = sigmoid(values[layer, person, query, label].item())
                expected = ALPHA * (1 - p) ** GAMMA * -math.log(p)
                expected -= (1 - ALPHA) * p**GAMMA * -math.log(1 - p)
                assert costs[layer, person, query].item() == pytest.approx(expected, rel=1e-4, abs=1e-6)


def test_focal_cost_is_finite_for_certain_queries() -> None:
    values = torch.tensor([-1e4, -100.0, 100.0, 1e4]).view(1, 4, 1)
    costs = FocalCost()(values, torch.tensor([0]))
    assert costs.isfinite().all()
    assert (costs.diff() < 0).all()


def test_softmax_loss_is_the_weighted_mean() -> None:
    values, wanted = logits(2, 5, 3), targets(2, 5, num_classes=2)
    loss = reduce_losses({"class": SoftmaxLoss(0.2)(values, class_targets(wanted))})["class"]
    total = weights = 0.0
    for image in range(2):
        for query in range(5):
            label = wanted[image, query].item()
            weight = 0.2 if label == NO_OBJECT else 1.0
            column = 2 if label == NO_OBJECT else label
            total += weight * -values[image, query].log_softmax(dim=0)[column].item()
            weights += weight
    assert loss.item() == pytest.approx(total / weights, rel=1e-5)


def test_softmax_loss_of_a_few_queries_without_persons_is_still_a_mean() -> None:
    values = logits(1, 3, 2)
    loss = reduce_losses({"class": SoftmaxLoss(0.1)(values, class_targets(torch.full((1, 3), NO_OBJECT)))})[
        "class"
    ]
    assert_close(loss, -values.log_softmax(dim=-1)[..., 1].mean())


def test_focal_loss_is_the_formula_per_person() -> None:
    """Persons that are not matched, because there are more of them than queries, count too."""
    values, wanted = logits(2, 5, 2), targets(2, 5, num_classes=2)
    num_persons = (wanted != NO_OBJECT).sum().item() + 2
    loss = reduce_losses({"class": FocalLoss(ALPHA, GAMMA)(values, class_targets(wanted, num_persons))})
    total = 0.0
    for image in range(2):
        for query in range(5):
            for label in range(2):
                p = sigmoid(values[image, query, label].item())
                if wanted[image, query] == label:
                    total += ALPHA * (1 - p) ** GAMMA * -math.log(p)
                else:
                    total += (1 - ALPHA) * p**GAMMA * -math.log(1 - p)
    assert loss["class"].item() == pytest.approx(total / num_persons, rel=1e-5)


@pytest.mark.parametrize("make", [FocalLoss, VarifocalLoss])
def test_sigmoid_losses_without_persons_are_the_sum(make: type) -> None:
    values = logits(1, 4, 1)
    term = make()(values, class_targets(torch.full((1, 4), NO_OBJECT)))
    loss = reduce_losses({"class": term})["class"]
    assert torch.equal(loss, term.total)
    loss.backward()
    assert (values.grad > 0).all()


def test_varifocal_loss_is_the_formula() -> None:
    values, wanted = logits(2, 5, 2), targets(2, 5, num_classes=2)
    quality = torch.rand(2, 5) * (wanted != NO_OBJECT)
    term = VarifocalLoss(ALPHA, GAMMA)(values, ClassTargets(wanted, quality, 3.0))
    total = 0.0
    for image in range(2):
        for query in range(5):
            for label in range(2):
                p = sigmoid(values[image, query, label].item())
                q = quality[image, query].item() if wanted[image, query] == label else 0.0
                if q > 0:
                    total += q * -(q * math.log(p) + (1 - q) * math.log(1 - p))
                else:
                    total += ALPHA * p**GAMMA * -math.log(1 - p)
    assert term.count == 3
    assert term.total.item() == pytest.approx(total, rel=1e-5)


def test_the_best_score_under_varifocal_loss_is_the_quality() -> None:
    wanted = ClassTargets(torch.zeros(1, 1, dtype=torch.int64), torch.tensor([[0.7]]), 1.0)
    values = torch.tensor([[[math.log(0.7 / 0.3)]]], requires_grad=True)
    VarifocalLoss()(values, wanted).total.backward()
    assert values.grad.abs().max() < 1e-6
