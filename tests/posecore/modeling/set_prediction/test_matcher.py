"""The assignment of persons to queries: of least cost, image by image, group by group."""

from dataclasses import dataclass
from itertools import permutations

import pytest
import torch
from helpers.set_prediction import persons_of, predictions, targets
from torch import Tensor
from torch.testing import assert_close

from posecore.modeling.set_prediction.classification import FocalCost, softmax_cost
from posecore.modeling.set_prediction.costs import WeightedCost, keypoint_cost, visibility_cost
from posecore.modeling.set_prediction.matcher import HungarianMatcher
from posecore.modeling.set_prediction.poses import TensorFields
from posecore.modeling.set_prediction.predictions import Predictions

KEYPOINTS = WeightedCost(keypoint_cost, 1.0)


def test_every_person_gets_a_query_of_its_own_image() -> None:
    people = targets(2, 0, 3)
    persons = persons_of(people)
    found = predictions(2, 3, 6)
    matches = HungarianMatcher(softmax_cost, [WeightedCost(keypoint_cost, 4.0)])(found, persons, [2, 0, 3])
    assert len(matches.layers) == 2 * 5
    assert torch.equal(matches.images, persons.images[matches.persons])
    assert len({*zip(*(x.tolist() for x in matches.index), strict=True)}) == 10
    for layer in range(2):
        assert matches.persons[matches.layers == layer].tolist() == [0, 1, 2, 3, 4]


def test_the_assignment_costs_least() -> None:
    """Against all permutations."""
    persons = persons_of(targets(3))
    found = predictions(1, 1, 5)
    matcher = HungarianMatcher(softmax_cost, [KEYPOINTS, WeightedCost(visibility_cost, 0.2)])
    costs = matcher.total_costs(found, persons)[0]
    matches = matcher(found, persons, [3])
    ours = costs[matches.persons, matches.queries].sum().item()
    best = min(sum(costs[p, q] for p, q in enumerate(chosen)) for chosen in permutations(range(5), 3))
    assert ours == pytest.approx(best.item())


def test_a_pair_costs_the_weighted_sum() -> None:
    persons = persons_of(targets(3))
    found = predictions(2, 1, 5, num_logits=1)
    matcher = HungarianMatcher(FocalCost(), [WeightedCost(keypoint_cost, 3.0)], class_weight=2.0)
    costs = matcher.total_costs(found, persons)
    candidates = found[:, persons.images]
    expected = 3 * keypoint_cost(candidates.poses, persons[:, None])
    expected = expected + 2 * FocalCost()(candidates.logits, persons.labels)
    assert_close(costs, expected)


@pytest.mark.parametrize("counts", [[3, 1], [0, 2], [5, 0], [0, 0]])
@pytest.mark.parametrize("class_cost", [softmax_cost, FocalCost()])
def test_groups_are_matched_as_each_group_alone(counts: list[int], class_cost) -> None:
    """Also where an image has more persons than a group has queries."""
    num_groups, size = 3, 4
    persons = persons_of(targets(*counts))
    found = predictions(2, 2, num_groups * size)
    together = HungarianMatcher(class_cost, [KEYPOINTS], num_groups=num_groups)(found, persons, counts)
    assert together.num_groups == num_groups
    pairs = set()
    for group in range(num_groups):
        part = found[:, :, group * size : (group + 1) * size]
        alone = HungarianMatcher(class_cost, [KEYPOINTS])(part, persons, counts)
        queries = alone.queries + group * size
        columns = (alone.layers, alone.images, queries, alone.persons)
        pairs |= {*zip(*(x.tolist() for x in columns), strict=True)}
    columns = (*together.index, together.persons)
    assert len(together.layers) == len(pairs)
    assert {*zip(*(x.tolist() for x in columns), strict=True)} == pairs


def test_queries_that_do_not_divide_into_groups_are_refused() -> None:
    with pytest.raises(ValueError, match=r"7 queries do not divide into 2 equal groups"):
        HungarianMatcher(softmax_cost, [], num_groups=2)(predictions(1, 1, 7), persons_of(targets(1)), [1])


@dataclass(frozen=True)
class KeypointPoses(TensorFields):
    """The code of a method that predicts keypoints alone."""

    keypoints: Tensor


def test_other_codes_of_a_pose_are_matched() -> None:
    """By the keypoints alone both codes are matched alike."""
    persons = persons_of(targets(3, 2))
    usual = predictions(2, 2, 5)
    other = Predictions(usual.logits, KeypointPoses(usual.poses.keypoints))
    matcher = HungarianMatcher(softmax_cost, [KEYPOINTS])
    expected, found = (matcher(each, persons, [3, 2]) for each in (usual, other))
    assert torch.equal(found.queries, expected.queries)
    assert torch.equal(found.persons, expected.persons)


def test_what_a_diverged_network_predicts_is_matched_somehow() -> None:
    persons = persons_of(targets(2))
    found = predictions(1, 1, 4)
    broken = Predictions(found.logits * float("nan"), found.poses)
    matches = HungarianMatcher(softmax_cost, [KEYPOINTS])(broken, persons, [2])
    assert len(matches.layers) == 2


def test_matching_takes_one_copy_to_the_host(monkeypatch: pytest.MonkeyPatch) -> None:
    copies = []
    to_cpu = Tensor.cpu
    monkeypatch.setattr(Tensor, "cpu", lambda tensor: (copies.append(tensor.shape), to_cpu(tensor))[1])
    persons = persons_of(targets(2, 1, 3))
    HungarianMatcher(softmax_cost, [KEYPOINTS])(predictions(6, 3, 5), persons, [2, 1, 3])
    assert copies == [(6, 6, 5)]
