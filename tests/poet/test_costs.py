"""The costs and choices that POET's configuration names."""

import pytest
from helpers.image_samples import sample
from helpers.poet_oracle import tiny
from helpers.set_prediction import persons_of, poses, targets
from torch.testing import assert_close

from poet.codec import PoseCodec
from poet.costs import coded_offset_cost, poet_costs
from posecore.modeling.set_prediction.costs import pose_costs

SIGMAS = (0.05, 0.07, 0.1)


def test_coded_offsets_are_compared_as_they_stand_in_the_vector() -> None:
    persons = persons_of(targets(4))
    predicted = poses(4)
    codec = PoseCodec(3)
    difference = (codec.join(predicted) - codec.join(persons.poses))[:, 2:].unflatten(1, (3, 3))
    expected = (difference[..., :2].abs().sum(dim=-1) * persons.poses.visibility).sum(dim=-1)
    assert_close(coded_offset_cost(predicted, persons), expected)
    assert coded_offset_cost(predicted, persons[:, None]).shape == (4, 4)


def test_poet_has_the_shared_costs_and_its_own() -> None:
    assert poet_costs(SIGMAS).keys() == pose_costs(SIGMAS).keys() | {"coded_offset"}


def test_oks_can_be_the_cost_and_the_loss() -> None:
    model = tiny("MODEL.POET.LOSSES", [["oks", 2.0], ["visibility", 0.2]], "MODEL.POET.COSTS", [["oks", 1.0]])
    losses = model.train()([sample(0, 2), sample(1, 0)])
    assert {"loss_oks", "loss_oks_0", "loss_visibility", "loss_class"} <= losses.keys()
    assert 0 < losses["loss_oks"] <= 2
    sum(losses.values()).backward()
    last = model.head.regressor.layers[-1]
    assert last.weight.grad.isfinite().all()
    assert [cost.weight for cost in model.matcher.pose_costs] == [1.0]


def test_costs_are_those_of_the_losses_unless_given() -> None:
    model = tiny()
    assert list(model.criterion.pose_losses.values()) == model.matcher.pose_costs


@pytest.mark.parametrize("key", ["MODEL.POET.LOSSES", "MODEL.POET.COSTS"])
def test_unknown_costs_name_the_key_and_the_options(key: str) -> None:
    with pytest.raises(ValueError, match=rf"{key} must hold pairs of a cost \(.*offset, .*oks\).*'giou'"):
        tiny(key, [["giou", 1.0]])
