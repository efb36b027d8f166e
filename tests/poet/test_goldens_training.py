"""Targets, matching, losses and gradients as the official code computes them."""

import json
import re
from pathlib import Path

import numpy as np
import pytest
import torch
from helpers.oracles import arrays
from helpers.poet_oracle import people, predictions_of
from torch import Tensor
from torch.testing import assert_close

from poet.costs import poet_costs
from poet.official import OfficialMatcher, official_classes
from posecore.modeling.losses import reduce_losses
from posecore.modeling.set_prediction.classification import SoftmaxLoss, softmax_cost
from posecore.modeling.set_prediction.costs import WeightedCost
from posecore.modeling.set_prediction.criterion import SetCriterion
from posecore.modeling.set_prediction.matcher import HungarianMatcher, Matches
from posecore.modeling.set_prediction.persons import Persons, gather_persons
from posecore.structures.skeleton import load_skeleton

COSTS = poet_costs(load_skeleton("coco_17").sigmas)
# Name in the official code -> cost in the loss, cost in the matching.
NAMES = {
    "kpts": ("keypoint", "keypoint"),
    "deltas": ("coded_offset", "coded_offset"),
    "ctrs": ("center", "center_distance"),
    "kpts_class": ("visibility", "visibility_distance"),
}
RUNS = [
    ("A", "readme", ""),
    ("A", "default", ""),
    *(("B", weights, form) for weights in ("readme", "default") for form in ("", "_repaired")),
]
LAYERS = range(6)


class Training:
    """The shared arrays of the training case."""

    def __init__(self, shared: Path) -> None:
        folder = shared / "oracles/poet/case_a_train"
        self.inputs = arrays(folder / "inputs.npz")
        self.golden = np.load(folder / "outputs.npz")
        self.facts = json.loads((folder / "case.json").read_text())

    def targets(self, name: str) -> list:
        """The persons of a set, in the pixels of the resized images."""
        targets = []
        for image in range(2):
            annotations = self.inputs[f"{name}/image{image}/annotations"].clone()
            now, before = (self.inputs[f"{name}/image{image}/{key}"] for key in ("size_h_w", "orig_size_h_w"))
            annotations[..., :2] *= (now / before).flip(0)
            targets.append(people(annotations, tuple(now.tolist())))
        return targets

    def persons(self, name: str) -> tuple[Persons, list[int]]:
        targets = self.targets(name)
        persons = gather_persons(targets, 17, min_visibility=2, labels=official_classes)
        return persons, [len(target) for target in targets]

    def costs(self, weights: str) -> tuple[dict[str, WeightedCost], list[WeightedCost]]:
        """Those of the losses and those of the matching."""
        numbers = self.facts["weights"][weights]
        losses = {
            ours: WeightedCost(COSTS[ours], numbers[f"{name}_loss_coef"]) for name, (ours, _) in NAMES.items()
        }
        costs = [WeightedCost(COSTS[ours], numbers[f"set_cost_{name}"]) for name, (_, ours) in NAMES.items()]
        return losses, costs

    def tolerances(self, name: str) -> dict[str, float]:
        return self.facts["tolerances"][name]


@pytest.fixture(scope="module")
def training(shared: Path) -> Training:
    return Training(shared)


def per_image(values: Tensor, counts: list[int]) -> list[Tensor]:
    """(L, P, Q) -> per image (L, Q, G)."""
    return [part.transpose(1, 2) for part in values.split(counts, dim=1)]


@pytest.mark.parametrize("name", ["A", "B"])
def test_targets(training: Training, name: str) -> None:
    persons, counts = training.persons(name)
    expected = torch.cat([training.inputs[f"{name}/image{i}/keypoints"] for i in range(2)])
    labels = torch.cat([training.inputs[f"{name}/image{i}/labels"] for i in range(2)])
    assert persons.images.tolist() == [0] * counts[0] + [1] * counts[1]
    assert torch.equal(persons.labels, labels)
    assert torch.equal(persons.any_visible, expected[:, 2] > 0)
    posed = persons.any_visible
    assert_close(persons.poses.centers[posed], expected[posed, :2], atol=2e-6, rtol=0)
    offsets = expected[:, 3:].unflatten(1, (17, 3))
    visible = offsets[..., 2] > 0
    assert torch.equal(persons.poses.visibility > 0, visible)
    assert_close(persons.poses.offsets[visible], 2 * offsets[..., :2][visible] - 1, atol=2e-6, rtol=0)


@pytest.mark.parametrize(("name", "weights", "form"), RUNS)
def test_matching(training: Training, name: str, weights: str, form: str) -> None:
    persons, counts = training.persons(name)
    predictions = predictions_of(training.inputs["pred_logits"], training.inputs["pred_kpts"])
    make = HungarianMatcher if form else OfficialMatcher
    matcher = make(softmax_cost, training.costs(weights)[1])
    costs = per_image(matcher.total_costs(predictions, persons), counts)
    matches = matcher(predictions, persons, counts)
    first = [0, counts[0]]
    for layer in LAYERS:
        for image in range(2):
            where = f"{name}/{weights}{form}/layer{layer}/image{image}"
            golden = torch.from_numpy(training.golden[f"{where}/cost"])
            assert_close(costs[image][layer], golden, **training.tolerances("cost"))
            found = (matches.layers == layer) & (matches.images == image)
            ours = dict(zip(matches.persons[found].tolist(), matches.queries[found].tolist(), strict=True))
            theirs = zip(
                training.golden[f"{where}/tgt"] + first[image], training.golden[f"{where}/src"], strict=True
            )
            assert ours == dict(theirs), where


@pytest.mark.parametrize("name", ["A", "B"])
def test_single_costs(training: Training, name: str) -> None:
    """Of the last layer, without weights."""
    persons, counts = training.persons(name)
    predictions = predictions_of(training.inputs["pred_logits"], training.inputs["pred_kpts"])[-1:]
    # The class is the whole cost where there is no other.
    classes = per_image(HungarianMatcher(softmax_cost, []).total_costs(predictions, persons), counts)
    for image in range(2):
        golden = torch.from_numpy(training.golden[f"{name}/terms/image{image}/cost_class"])
        assert_close(classes[image][0], golden, **training.tolerances("cost"))
    for theirs, (_, ours) in NAMES.items():
        # By their mistake, what visibilities cost is wrong where persons are without visible keypoints.
        matcher = OfficialMatcher(softmax_cost, [WeightedCost(COSTS[ours], 1.0)])
        costs = per_image(matcher.total_pose_costs(predictions.poses, persons), counts)
        for image in range(2):
            golden = torch.from_numpy(training.golden[f"{name}/terms/image{image}/cost_{theirs}"])
            assert_close(costs[image][0], golden, **training.tolerances("cost"))


def loss_name(theirs: str) -> str:
    """loss_kpts_class_3 -> loss_visibility_3"""
    stem, _, layer = theirs.removeprefix("loss_").rpartition("_")
    if not layer.isdigit():
        stem, layer = theirs.removeprefix("loss_"), ""
    ours = "class" if stem == "ce" else NAMES[stem][0]
    return f"loss_{ours}_{layer}" if layer else f"loss_{ours}"


@pytest.mark.parametrize(("name", "weights", "form"), RUNS)
def test_losses_and_gradients(training: Training, name: str, weights: str, form: str) -> None:
    persons, counts = training.persons(name)
    logits = training.inputs["pred_logits"].clone().requires_grad_()
    vectors = training.inputs["pred_kpts"].clone().requires_grad_()
    predictions = predictions_of(logits, vectors)
    losses, costs = training.costs(weights)
    make = HungarianMatcher if form else OfficialMatcher
    matcher = make(softmax_cost, costs)
    criterion = SetCriterion(SoftmaxLoss(training.facts["weights"]["eos_coef"]), losses)
    matches = matcher(predictions, persons, counts)
    assert isinstance(matches, Matches)
    found = reduce_losses(criterion(predictions, persons, matches))

    where = f"{name}/{weights}{form}"
    weight_of = {ours: losses[ours].weight for ours, _ in NAMES.values()} | {"class": 1.0}
    compared = 0
    for theirs, value in zip(
        training.golden[f"{where}/loss_names"].tolist(),
        training.golden[f"{where}/loss_values"].tolist(),
        strict=True,
    ):
        if theirs.startswith("loss_"):
            ours = loss_name(theirs)
            kind = re.fullmatch(r"loss_(.+?)(_\d)?", ours)[1]
            golden = torch.tensor(value * weight_of[kind])
            assert_close(found[ours].detach(), golden, **training.tolerances("losses"), msg=theirs)
            compared += 1
    assert compared == len(found) == 5 * len(LAYERS)
    total = sum(found.values())
    golden = torch.from_numpy(training.golden[f"{where}/total"]).float()
    assert_close(total.detach()[None], golden, **training.tolerances("losses"))
    total.backward()
    for gradient, theirs in ((logits.grad, "logits"), (vectors.grad, "kpts")):
        golden = torch.from_numpy(training.golden[f"{where}/grad_{theirs}"])
        assert_close(gradient, golden, **training.tolerances("grads"))
