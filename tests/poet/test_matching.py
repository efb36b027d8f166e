"""Terms, matching and losses at their edges. Letters as in the package."""

from functools import partial
from itertools import permutations

import pytest
import torch
from detectron2.structures import Boxes, Instances, Keypoints
from helpers.image_samples import sample
from helpers.poet_oracle import tiny
from torch import Tensor
from torch.testing import assert_close

from poet.codec import PoseCodec, Poses
from poet.criterion import Criterion
from poet.head import Predictions
from poet.matcher import HungarianMatcher, OfficialMatcher
from poet.persons import Persons, gather_persons, official_classes, one_class
from poet.terms import TERMS, oks_error
from posecore.structures.oks import oks

SIGMAS = torch.tensor([0.05, 0.07, 0.1])
ALL_TERMS = TERMS | {"oks": partial(oks_error, sigmas=SIGMAS)}
K = 3


def targets(*counts: int, size: tuple[int, int] = (96, 128)) -> list[Instances]:
    return [sample(seed, count, size, K)["instances"] for seed, count in enumerate(counts)]


def persons_of(people: list[Instances], least_visibility: int = 1) -> Persons:
    return gather_persons(people, K, least_visibility=least_visibility, label=one_class)


def predictions(layers: int, images: int, queries: int) -> Predictions:
    vectors = torch.rand(layers, images, queries, PoseCodec(K).num_values, requires_grad=True)
    logits = torch.randn(layers, images, queries, 2, requires_grad=True)
    return Predictions(logits, PoseCodec(K).split(vectors))


def test_persons_know_their_images() -> None:
    people = targets(2, 0, 3)
    persons = persons_of(people)
    assert len(persons) == 5
    assert persons.images.tolist() == [0, 0, 2, 2, 2]
    assert persons.sizes.tolist() == [[128, 96]] * 5
    assert_close(persons.areas, torch.cat([target.gt_boxes.area() for target in people]))
    keypoints = torch.cat([people[0].gt_keypoints.tensor, people[2].gt_keypoints.tensor])
    visible = keypoints[..., 2] > 0
    found = persons.poses.keypoints * persons.sizes[:, None]
    assert_close(found[visible], keypoints[..., :2][visible])


def test_what_counts_as_visible_is_a_choice() -> None:
    people = targets(4)
    flags = people[0].gt_keypoints.tensor[..., 2]
    assert torch.equal(persons_of(people, 2).poses.visibility, (flags == 2).float())
    assert torch.equal(persons_of(people, 1).poses.visibility, (flags >= 1).float())


def test_official_classes() -> None:
    """No keypoints; the nose alone; hidden ones alone, the nose not labeled; somebody."""
    keypoints = torch.zeros(4, 17, 3)
    keypoints[1, 0] = torch.tensor([33.3, 77.7, 2.0])
    keypoints[2, 5] = torch.tensor([10.0, 20.0, 1.0])
    keypoints[3] = torch.tensor([30.0, 60.0, 2.0])
    keypoints[3, 4, 0] = 50.0
    assert official_classes(keypoints, keypoints[..., 2] >= 2).tolist() == [0, 0, 0, 1]


@pytest.mark.parametrize("name", ALL_TERMS)
def test_a_term_is_the_same_for_pairs_and_for_tables(name: str) -> None:
    """Tables of (P, Q) are what the matcher takes, pairs what the losses do."""
    persons = persons_of(targets(4))
    poses = predictions(1, 1, 6).poses[0, 0]
    table = ALL_TERMS[name](poses, persons[:, None])
    assert table.shape == (4, 6)
    for person in range(4):
        for query in range(6):
            pair = ALL_TERMS[name](poses[query : query + 1], persons[person : person + 1])
            assert_close(table[person, query], pair[0])


@pytest.mark.parametrize("name", ALL_TERMS)
def test_a_term_is_zero_at_the_ground_truth_and_not_elsewhere(name: str) -> None:
    persons = persons_of(targets(5))
    assert_close(ALL_TERMS[name](persons.poses, persons), torch.zeros(5), atol=1e-6, rtol=0)
    other = persons.poses
    moved = Poses(other.centers + 0.1, other.offsets + 0.1, 1 - other.visibility)
    errors = ALL_TERMS[name](moved, persons)
    assert (errors[persons.posed] > 0).all()


@pytest.mark.parametrize("name", ALL_TERMS)
def test_nobody_asks_for_the_pose_of_a_person_without_keypoints(name: str) -> None:
    people = targets(2)
    people[0].gt_keypoints.tensor[1] = torch.tensor([float("nan"), float("nan"), 0.0])
    persons = persons_of(people)
    poses = predictions(1, 1, 2).poses[0, 0]
    errors = ALL_TERMS[name](poses, persons)
    assert errors[1] == 0
    assert errors[0] > 0


@pytest.mark.parametrize("name", ALL_TERMS)
def test_gradients_are_finite_even_at_the_ground_truth(name: str) -> None:
    persons = persons_of(targets(3))
    values = [x.clone().requires_grad_() for x in vars(persons.poses).values()]
    ALL_TERMS[name](Poses(*values), persons).sum().backward()
    assert all(value.grad is None or value.grad.isfinite().all() for value in values)


def test_the_terms_of_equation_3() -> None:
    person = Instances(
        (100, 200),
        gt_boxes=Boxes(torch.tensor([[0.0, 0.0, 50.0, 50.0]])),
        gt_keypoints=Keypoints(torch.tensor([[[20.0, 10.0, 2.0], [60.0, 30.0, 2.0], [0.0, 0.0, 0.0]]])),
    )
    persons = persons_of([person])  # center (40, 20): (0.2, 0.2); offsets -+(0.1, 0.1)
    poses = Poses(
        torch.tensor([[0.3, 0.4]]),
        torch.tensor([[[0.0, -0.1], [0.1, 0.2], [0.9, 0.9]]]),
        torch.tensor([[0.5, 1.0, 0.25]]),
    )
    expected = {
        "offset": 0.1 + 0.1,
        "coded_offset": 0.1,
        "keypoint": (0.2 + 0.2) + (0.1 + 0.3),
        "center": 0.01 + 0.04,
        "center_distance": 0.05**0.5,
        "visibility": 0.25 + 0.0625,
        "visibility_distance": 0.3125**0.5,
    }
    for name, value in expected.items():
        assert TERMS[name](poses, persons).item() == pytest.approx(value, rel=1e-5), name


def test_the_oks_term_is_the_oks_of_evaluation() -> None:
    persons = persons_of(targets(4))
    poses = predictions(1, 1, 4).poses[0, 0]
    ground_truth, scale = persons.poses, persons.sizes[:, None]
    table = oks(
        poses.keypoints * scale,
        ground_truth.keypoints * scale,
        persons.areas,
        SIGMAS,
        ground_truth.visibility,
    )
    errors = oks_error(poses, persons, SIGMAS)
    assert_close(errors[persons.posed], 1 - table.diagonal()[persons.posed])


def test_every_person_gets_a_query_of_its_own_image() -> None:
    people = targets(2, 0, 3)
    persons = persons_of(people)
    found = predictions(2, 3, 6)
    matches = HungarianMatcher([(TERMS["keypoint"], 4.0)])(found, persons, [2, 0, 3])
    assert len(matches.layers) == 2 * 5
    assert torch.equal(matches.images, persons.images[matches.persons])
    assert len({*zip(*(x.tolist() for x in matches.at), strict=True)}) == 10
    for layer in range(2):
        assert matches.persons[matches.layers == layer].tolist() == [0, 1, 2, 3, 4]


def test_the_assignment_costs_least() -> None:
    """Against all permutations."""
    persons = persons_of(targets(3))
    found = predictions(1, 1, 5)
    matcher = HungarianMatcher([(TERMS["keypoint"], 1.0), (TERMS["visibility"], 0.2)])
    costs = matcher.costs(found, persons)[0]
    matches = matcher(found, persons, [3])
    ours = costs[matches.persons, matches.queries].sum().item()
    best = min(sum(costs[p, q] for p, q in enumerate(chosen)) for chosen in permutations(range(5), 3))
    assert ours == pytest.approx(best.item())


def test_more_persons_than_queries() -> None:
    """As many are matched as there are queries; all count in the normalizer."""
    persons = persons_of(targets(5, 1))
    found = predictions(2, 2, 3)
    matches = HungarianMatcher([(TERMS["keypoint"], 1.0)])(found, persons, [5, 1])
    assert matches.layers.bincount().tolist() == [4, 4]
    losses = Criterion({"keypoint": (TERMS["keypoint"], 2.0)}, 0.1)(found, persons, matches)
    errors = TERMS["keypoint"](found.poses[matches.at], persons[matches.persons])
    assert_close(losses["loss_keypoint"], 2 * errors[matches.layers == 1].sum() / 6)


def test_nobody_in_any_image() -> None:
    persons = persons_of(targets(0, 0))
    found = predictions(2, 2, 4)
    matches = HungarianMatcher([(TERMS["keypoint"], 1.0)])(found, persons, [0, 0])
    assert len(matches.layers) == 0
    losses = Criterion({"keypoint": (TERMS["keypoint"], 1.0)}, 0.1)(found, persons, matches)
    assert set(losses) == {"loss_class", "loss_class_0", "loss_keypoint", "loss_keypoint_0"}
    assert losses["loss_keypoint"] == losses["loss_keypoint_0"] == 0
    expected = -found.logits[1].log_softmax(dim=-1)[..., 1].mean()
    assert_close(losses["loss_class"], expected)


def test_classes_weigh_what_they_should() -> None:
    persons = persons_of(targets(1))
    found = predictions(1, 1, 3)
    matches = HungarianMatcher([])(found, persons, [1])
    losses = Criterion({}, 0.1)(found, persons, matches)
    surprise = -found.logits[0, 0].log_softmax(dim=-1)
    matched = matches.queries.item()
    others = [query for query in range(3) if query != matched]
    expected = (surprise[matched, 0] + 0.1 * surprise[others, 1].sum()) / 1.2
    assert_close(losses["loss_class"], expected)


def test_what_a_diverged_network_predicts_is_matched_somehow() -> None:
    persons = persons_of(targets(2))
    found = predictions(1, 1, 4)
    broken = Predictions(found.logits * float("nan"), found.poses)
    matches = HungarianMatcher([(TERMS["keypoint"], 1.0)])(broken, persons, [2])
    assert len(matches.layers) == 2


def test_matching_takes_one_copy_to_the_host(monkeypatch: pytest.MonkeyPatch) -> None:
    copies = []
    to_cpu = Tensor.cpu
    monkeypatch.setattr(Tensor, "cpu", lambda tensor: (copies.append(tensor.shape), to_cpu(tensor))[1])
    persons = persons_of(targets(2, 1, 3))
    HungarianMatcher([(TERMS["keypoint"], 1.0)])(predictions(6, 3, 5), persons, [2, 1, 3])
    assert copies == [(6, 6, 5)]


def test_the_official_mistake_changes_only_what_visibilities_cost() -> None:
    people = targets(2)
    people[0].gt_keypoints.tensor[1, :, 2] = 0
    persons = persons_of(people)
    found = predictions(1, 1, 4)
    terms = [(TERMS["visibility_distance"], 1.0)]
    right = HungarianMatcher(terms).pose_costs(found.poses, persons)[0]
    wrong = OfficialMatcher(terms).pose_costs(found.poses, persons)[0]
    # Person 1 has no keypoints: it pays, and query 1 is taken to see nothing.
    assert (right[1] == 0).all()
    assert_close(wrong[1, [0, 2, 3]], found.poses.visibility[0, 0, [0, 2, 3]].norm(dim=1))
    assert wrong[1, 1] == 0
    assert_close(wrong[0, 1], persons.poses.visibility[0].norm())
    assert_close(wrong[0, [0, 2, 3]], right[0, [0, 2, 3]])
    without = [(TERMS["keypoint"], 1.0), (TERMS["center"], 1.0)]
    assert_close(
        OfficialMatcher(without).pose_costs(found.poses, persons),
        HungarianMatcher(without).pose_costs(found.poses, persons),
    )


def test_oks_can_be_the_cost_and_the_loss() -> None:
    model = tiny("MODEL.POET.LOSSES", [["oks", 2.0], ["visibility", 0.2]], "MODEL.POET.COSTS", [["oks", 1.0]])
    losses = model.train()([sample(0, 2), sample(1, 0)])
    assert {"loss_oks", "loss_oks_0", "loss_visibility", "loss_class"} <= losses.keys()
    assert 0 < losses["loss_oks"] <= 2
    sum(losses.values()).backward()
    last = model.head.regressor.layers[-1]
    assert last.weight.grad.isfinite().all()
    assert [weight for _, weight in model.matcher.terms] == [1.0]


def test_costs_are_those_of_the_losses_unless_given() -> None:
    model = tiny()
    assert list(model.criterion.terms.values()) == model.matcher.terms


@pytest.mark.parametrize("key", ["MODEL.POET.LOSSES", "MODEL.POET.COSTS"])
def test_unknown_terms_name_the_key_and_the_options(key: str) -> None:
    with pytest.raises(ValueError, match=rf"{key} must hold pairs of a term \(offset, .*oks\).*'giou'"):
        tiny(key, [["giou", 1.0]])


@pytest.mark.parametrize("name", ["MODEL.POET.MATCHER", "MODEL.POET.CLASSES", "MODEL.POET.KEYPOINT_SCORE"])
def test_wrong_choices_name_the_key_and_the_options(name: str) -> None:
    with pytest.raises(ValueError, match=rf"{name} must be one of '.*'nonsense'"):
        tiny(name, "nonsense")
