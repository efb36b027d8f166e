"""Pose costs at their edges, and as tables and pairs."""

import math

import pytest
import torch
from detectron2.structures import Boxes, Instances, Keypoints
from helpers.set_prediction import persons_of, poses, targets
from torch.testing import assert_close

from posecore.modeling.set_prediction.costs import WeightedCost, keypoint_cost, pose_costs, weighted_costs
from posecore.modeling.set_prediction.poses import KeypointPoses, Poses
from posecore.structures.oks import oks

SIGMAS = (0.05, 0.07, 0.1)
COSTS = pose_costs(SIGMAS)


@pytest.mark.parametrize("name", COSTS)
def test_a_cost_is_the_same_for_pairs_and_for_tables(name: str) -> None:
    """Tables of (P, Q) are what the matcher takes, pairs what the losses do."""
    persons = persons_of(targets(4))
    predicted = poses(6)
    table = COSTS[name](predicted, persons[:, None])
    assert table.shape == (4, 6)
    for person in range(4):
        for query in range(6):
            pair = COSTS[name](predicted[query : query + 1], persons[person : person + 1])
            assert_close(table[person, query], pair[0])


@pytest.mark.parametrize("name", COSTS)
def test_a_cost_is_zero_at_the_ground_truth_and_not_elsewhere(name: str) -> None:
    persons = persons_of(targets(5))
    assert_close(COSTS[name](persons.poses, persons), torch.zeros(5), atol=1e-6, rtol=0)
    other = persons.poses
    moved = Poses(other.centers + 0.1, other.offsets + 0.1, 1 - other.visibility)
    errors = COSTS[name](moved, persons)
    assert (errors[persons.any_visible] > 0).all()


@pytest.mark.parametrize("name", COSTS)
def test_a_person_without_keypoints_costs_nothing(name: str) -> None:
    people = targets(2)
    people[0].gt_keypoints.tensor[1] = torch.tensor([float("nan"), float("nan"), 0.0])
    persons = persons_of(people)
    errors = COSTS[name](poses(2), persons)
    assert errors[1] == 0
    assert errors[0] > 0


@pytest.mark.parametrize("name", COSTS)
def test_gradients_are_finite_even_at_the_ground_truth(name: str) -> None:
    persons = persons_of(targets(3))
    values = [x.clone().requires_grad_() for x in vars(persons.poses).values()]
    COSTS[name](Poses(*values), persons).sum().backward()
    assert all(value.grad is None or value.grad.isfinite().all() for value in values)


def test_the_costs_of_a_person_by_hand() -> None:
    person = Instances(
        (100, 200),
        gt_boxes=Boxes(torch.tensor([[0.0, 0.0, 50.0, 50.0]])),
        gt_keypoints=Keypoints(torch.tensor([[[20.0, 10.0, 2.0], [60.0, 30.0, 2.0], [0.0, 0.0, 0.0]]])),
    )
    persons = persons_of([person])  # center (40, 20): (0.2, 0.2); offsets -+(0.1, 0.1)
    predicted = Poses(
        torch.tensor([[0.3, 0.4]]),
        torch.tensor([[[0.0, -0.1], [0.1, 0.2], [0.9, 0.9]]]),
        torch.tensor([[0.5, 1.0, 0.25]]),
    )
    expected = {
        "offset": 0.1 + 0.1,
        "keypoint": (0.2 + 0.2) + (0.1 + 0.3),
        "center": 0.01 + 0.04,
        "center_distance": 0.05**0.5,
        "visibility": 0.25 + 0.0625,
        "visibility_distance": 0.3125**0.5,
    }
    assert expected.keys() == COSTS.keys() - {"oks", "relative_oks"}
    for name, value in expected.items():
        assert COSTS[name](predicted, persons).item() == pytest.approx(value, rel=1e-5), name


def test_the_oks_cost_is_the_oks_of_evaluation() -> None:
    persons = persons_of(targets(4))
    predicted = poses(4)
    ground_truth, scale = persons.poses, persons.sizes[:, None]
    table = oks(
        predicted.keypoints * scale,
        ground_truth.keypoints * scale,
        persons.areas,
        torch.tensor(SIGMAS),
        ground_truth.visibility,
    )
    errors = COSTS["oks"](predicted, persons)
    assert_close(errors[persons.any_visible], 1 - table.diagonal()[persons.any_visible])


def test_the_relative_oks_counts_widths_and_heights() -> None:
    """In an image twice as wide as high, 20 pixels to the side are 10 pixels down in the other OKS."""
    person = Instances(
        (100, 200),
        gt_boxes=Boxes(torch.tensor([[0.0, 0.0, 40.0, 50.0]])),
        gt_keypoints=Keypoints(torch.tensor([[[80.0, 40.0, 2.0], [90.0, 50.0, 2.0], [0.0, 0.0, 0.0]]])),
    )
    persons = persons_of([person])
    shares = persons.poses.keypoints

    def moved(x: float, y: float) -> torch.Tensor:
        predicted = KeypointPoses(shares + torch.tensor([x / 200, y / 100]))
        return COSTS["relative_oks"](predicted, persons)

    squared, area = 0.1**2, 2000 / (200 * 100)
    expected = 1 - sum(math.exp(-squared / (2 * area * (2 * sigma) ** 2)) for sigma in SIGMAS[:2]) / 2
    assert moved(20, 0).item() == pytest.approx(expected, rel=1e-4)
    assert_close(moved(20, 0), moved(0, 10))
    assert moved(1e3, 1e3).item() == pytest.approx(1 - 1e-6)


def test_a_configuration_names_costs_and_weights() -> None:
    costs = weighted_costs([["oks", 2], ("keypoint", 0.5)], COSTS, "KEY")
    assert costs == {"oks": WeightedCost(COSTS["oks"], 2.0), "keypoint": WeightedCost(keypoint_cost, 0.5)}
    persons = persons_of(targets(2))
    predicted = poses(2)
    assert torch.equal(costs["keypoint"](predicted, persons), 0.5 * keypoint_cost(predicted, persons))


@pytest.mark.parametrize("entry", [["giou", 1.0], ["oks"], ["oks", "1"], "oks", 1.0])
def test_what_is_no_pair_of_a_cost_and_a_weight_is_named(entry: object) -> None:
    with pytest.raises(
        ValueError, match=r"KEY must hold pairs of a cost \(offset, .*oks\) and its weight, not"
    ):
        weighted_costs([["keypoint", 1.0], entry], COSTS, "KEY")
