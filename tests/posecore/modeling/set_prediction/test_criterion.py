"""The losses of matched queries at their edges. Letters as in the package."""

import torch
from helpers.set_prediction import persons_of, predictions, targets
from torch.testing import assert_close

from posecore.modeling.losses import LossTerm, reduce_losses
from posecore.modeling.set_prediction.classification import (
    ClassTargets,
    FocalCost,
    FocalLoss,
    SoftmaxLoss,
    VarifocalLoss,
    softmax_cost,
)
from posecore.modeling.set_prediction.costs import WeightedCost, keypoint_cost
from posecore.modeling.set_prediction.criterion import SetCriterion
from posecore.modeling.set_prediction.matcher import HungarianMatcher
from posecore.modeling.set_prediction.persons import Persons
from posecore.modeling.set_prediction.poses import Poses

KEYPOINTS = WeightedCost(keypoint_cost, 1.0)


def test_more_persons_than_queries() -> None:
    """As many are matched as there are queries; all count in the normalizer."""
    persons = persons_of(targets(5, 1))
    found = predictions(2, 2, 3)
    matches = HungarianMatcher(softmax_cost, [KEYPOINTS])(found, persons, [5, 1])
    assert matches.layers.bincount().tolist() == [4, 4]
    criterion = SetCriterion(SoftmaxLoss(0.1), {"keypoint": WeightedCost(keypoint_cost, 2.0)})
    losses = reduce_losses(criterion(found, persons, matches))
    errors = keypoint_cost(found.poses[matches.index], persons[matches.persons])
    assert_close(losses["loss_keypoint"], 2 * errors[matches.layers == 1].sum() / 6)


def test_nobody_in_any_image() -> None:
    persons = persons_of(targets(0, 0))
    found = predictions(2, 2, 4)
    matches = HungarianMatcher(softmax_cost, [KEYPOINTS])(found, persons, [0, 0])
    assert len(matches.layers) == 0
    terms = SetCriterion(SoftmaxLoss(0.1), {"keypoint": KEYPOINTS})(found, persons, matches)
    losses = reduce_losses(terms)
    assert set(losses) == {"loss_class", "loss_class_0", "loss_keypoint", "loss_keypoint_0"}
    assert losses["loss_keypoint"] == losses["loss_keypoint_0"] == 0
    expected = -found.logits[1].log_softmax(dim=-1)[..., 1].mean()
    assert_close(losses["loss_class"], expected)


def test_classes_weigh_what_they_should() -> None:
    persons = persons_of(targets(1))
    found = predictions(1, 1, 3)
    matches = HungarianMatcher(softmax_cost, [])(found, persons, [1])
    losses = reduce_losses(SetCriterion(SoftmaxLoss(0.1), {})(found, persons, matches))
    surprise = -found.logits[0, 0].log_softmax(dim=-1)
    matched = matches.queries.item()
    others = [query for query in range(3) if query != matched]
    expected = (surprise[matched, 0] + 0.1 * surprise[others, 1].sum()) / 1.2
    assert_close(losses["loss_class"], expected)


def test_focal_losses_of_a_later_detr() -> None:
    """The class loss has its weight, and every layer its own matched persons."""
    persons = persons_of(targets(2, 1))
    found = predictions(3, 2, 4, num_logits=1)
    matches = HungarianMatcher(FocalCost(), [KEYPOINTS], class_weight=2.0)(found, persons, [2, 1])
    criterion = SetCriterion(FocalLoss(), {"keypoint": KEYPOINTS}, class_weight=2.0)
    losses = reduce_losses(criterion(found, persons, matches))
    for layer, name in enumerate(("loss_class_0", "loss_class_1", "loss_class")):
        labels = torch.full((2, 4), -1)
        of_layer = matches.layers == layer
        labels[matches.images[of_layer], matches.queries[of_layer]] = 0
        assert (labels == 0).sum() == 3
        wanted = ClassTargets(labels, (labels == 0).float(), num_persons=3.0)
        expected = reduce_losses({"class": FocalLoss()(found.logits[layer], wanted)})["class"]
        assert_close(losses[name], 2 * expected)


def test_losses_of_groups_are_the_mean_over_groups() -> None:
    num_groups, size = 2, 4
    persons = persons_of(targets(2, 1))
    found = predictions(2, 2, num_groups * size, num_logits=1)
    criterion = SetCriterion(FocalLoss(), {"keypoint": KEYPOINTS})
    matches = HungarianMatcher(FocalCost(), [KEYPOINTS], num_groups=num_groups)(found, persons, [2, 1])
    together = reduce_losses(criterion(found, persons, matches))
    alone = []
    for group in range(num_groups):
        part = found[:, :, group * size : (group + 1) * size]
        matches = HungarianMatcher(FocalCost(), [KEYPOINTS])(part, persons, [2, 1])
        alone.append(reduce_losses(criterion(part, persons, matches)))
    for name, loss in together.items():
        assert_close(loss, (alone[0][name] + alone[1][name]) / 2)


def test_layers_may_have_other_names() -> None:
    persons = persons_of(targets(2, 1))
    found = predictions(2, 2, 4)
    matches = HungarianMatcher(softmax_cost, [KEYPOINTS])(found, persons, [2, 1])
    criterion = SetCriterion(SoftmaxLoss(0.1), {"keypoint": KEYPOINTS})
    usual = reduce_losses(criterion(found, persons, matches))
    named = reduce_losses(criterion(found, persons, matches, ["_first", "_second"]))
    assert list(named) == [
        "loss_class_first",
        "loss_keypoint_first",
        "loss_class_second",
        "loss_keypoint_second",
    ]
    assert named["loss_keypoint_first"] == usual["loss_keypoint_0"]
    assert named["loss_class_second"] == usual["loss_class"]


def test_classes_learn_the_quality_of_matched_poses() -> None:
    persons = persons_of(targets(2, 1))
    found = predictions(2, 2, 4, num_logits=1)
    matches = HungarianMatcher(FocalCost(), [KEYPOINTS])(found, persons, [2, 1])
    seen = []

    def quality(poses: Poses, matched: Persons) -> torch.Tensor:
        return 1 / (1 + keypoint_cost(poses, matched))

    def loss(logits: torch.Tensor, wanted: ClassTargets) -> LossTerm:
        seen.append(wanted)
        return VarifocalLoss()(logits, wanted)

    SetCriterion(loss, {"keypoint": KEYPOINTS}, quality=quality)(found, persons, matches)
    expected = quality(found.poses[matches.index], persons[matches.persons])
    for layer, wanted in enumerate(seen):
        of_layer = matches.layers == layer
        values = wanted.quality[matches.images[of_layer], matches.queries[of_layer]]
        assert_close(values, expected[of_layer].detach())
        assert not wanted.quality.requires_grad
        assert wanted.quality.count_nonzero() == 3
        assert wanted.num_persons == 3
