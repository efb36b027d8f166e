"""Matching, losses and gradients as the official code computes them."""

import json
from pathlib import Path
from typing import Any

import pytest
import torch
from detectron2.structures import Instances
from helpers.grouppose_oracle import Case, people
from helpers.oracles import arrays
from torch import Tensor
from torch.testing import assert_close
from torchvision.ops import sigmoid_focal_loss

from grouppose.convert_weights import convert
from grouppose.official import OFFICIAL_CLASSES
from posecore.modeling.losses import reduce_losses
from posecore.modeling.set_prediction.classification import FocalCost, FocalLoss
from posecore.modeling.set_prediction.costs import WeightedCost, pose_costs
from posecore.modeling.set_prediction.criterion import SetCriterion
from posecore.modeling.set_prediction.matcher import HungarianMatcher
from posecore.modeling.set_prediction.persons import annotated_areas, gather_persons
from posecore.modeling.set_prediction.poses import KeypointPoses
from posecore.modeling.set_prediction.predictions import Predictions
from posecore.structures.skeleton import load_skeleton

WEIGHTS = {"ce": 2.0, "keypoints": 10.0, "oks": 4.0}
OURS = {"ce": "class", "keypoints": "keypoint", "oks": "relative_oks"}
# The order of the stored arrays: the decoder's layers, then the proposals.
SUFFIXES = ("_0", "_1", "_2", "_3", "_4", "", "_proposals")


class Training:
    """The training case, and a step of our model on it.

    Args:
        shared: the folder of shared data.
        states: MODEL.GROUPPOSE.AUXILIARY_STATES.
    """

    def __init__(self, shared: Path, states: str) -> None:
        self.case = Case(shared, "case_train")
        self.prefix = {"official": "", "own": "as_left/"}[states]
        inputs = arrays(shared / "oracles/grouppose/case_train/inputs.npz")
        model = self.case.model("MODEL.GROUPPOSE.AUXILIARY_STATES", states)
        batch = self.case.batch()
        for index, image in enumerate(batch):
            given = [inputs[f"image{index}/{name}"] for name in ("keypoints", "boxes_xyxy", "areas")]
            image["instances"] = people(*given, tuple(image["image"].shape[1:]))
        self.seen: dict[str, Any] = {}
        criterion, matcher = model.criterion, model.matcher

        def keep(predictions: Predictions, persons: Any, matches: Any, suffixes: Any) -> Any:
            predictions.logits.retain_grad()
            predictions.poses.keypoints.retain_grad()
            self.seen.update(predictions=predictions, persons=persons, matches=matches)
            return criterion(predictions, persons, matches, suffixes)

        model.criterion = keep
        self.losses = model.compute_losses(batch)
        predictions, persons = self.seen["predictions"], self.seen["persons"]
        with torch.no_grad():
            self.costs = matcher.total_costs(predictions, persons)
        sum(self.losses.values()).backward()
        self.model = model

    def check(self, name: str, actual: Tensor) -> None:
        self.case.check(self.prefix + name, actual)

    def per_image(self, values: Tensor) -> list[Tensor]:
        """(..., P, Q) -> per image (..., Q, G)."""
        counts = self.case.facts["persons_per_image"]
        return [part.transpose(-1, -2) for part in values.split(counts, dim=-2)]


def last_first(values: Tensor) -> Tensor:
    """From our order, the proposals first, to the stored one, the proposals last."""
    return torch.cat([values[1:], values[:1]])


@pytest.fixture(scope="module", params=["official", "own"])
def training(shared: Path, request: pytest.FixtureRequest) -> Training:
    return Training(shared, request.param)


def test_predictions(training: Training) -> None:
    predictions = training.seen["predictions"]
    training.case.check("logits", last_first(predictions.logits))
    poses = last_first(predictions.poses.keypoints)
    if training.prefix:
        training.check("poses", poses[:5])
    else:
        training.check("poses", poses)


def test_matching(training: Training) -> None:
    matches = training.seen["matches"]
    first = 0
    for image, costs in enumerate(training.per_image(training.costs)):
        training.check(f"image{image}/cost", last_first(costs))
        for layer in range(7):
            of_layer = (matches.layers == (layer + 1) % 7) & (matches.images == image)
            ours = zip(matches.persons[of_layer].tolist(), matches.queries[of_layer].tolist(), strict=True)
            theirs = (
                training.case.golden[f"{training.prefix}image{image}/{name}"][layer]
                for name in ("persons", "queries")
            )
            expected = {person.item() + first: query.item() for person, query in zip(*theirs, strict=True)}
            assert dict(ours) == expected, (image, layer)
        first += costs.shape[-1]


def test_single_costs(training: Training) -> None:
    """Of the last layer, without weights."""
    predictions, persons = training.seen["predictions"][-1:], training.seen["persons"]
    options = pose_costs(load_skeleton("coco_17").sigmas)
    with torch.no_grad():
        classes = HungarianMatcher(FocalCost(), []).total_costs(predictions, persons)[0]
        found = {"class": classes}
        for theirs, ours in (("l1", "keypoint"), ("oks", "relative_oks")):
            matcher = HungarianMatcher(FocalCost(), [WeightedCost(options[ours], 1.0)])
            found[theirs] = matcher.total_pose_costs(predictions.poses, persons)[0]
    for theirs, costs in found.items():
        for image, values in enumerate(training.per_image(costs)):
            training.case.check(f"image{image}/cost_{theirs}", values)


def test_losses(training: Training) -> None:
    assert len(training.losses) == 21
    for theirs, ours in OURS.items():
        losses = torch.stack([training.losses[f"loss_{ours}{suffix}"] for suffix in SUFFIXES])
        training.check(f"loss_{theirs}", losses.detach().double() / WEIGHTS[theirs])
    training.check("total", sum(training.losses.values()).detach().double())


def test_gradients_of_predictions(shared: Path) -> None:
    """Of the criterion alone, predictions taken as given."""
    case = Case(shared, "case_train")
    inputs = arrays(shared / "oracles/grouppose/case_train/inputs.npz")
    sizes = [tuple(image["image"].shape[1:]) for image in case.batch()]
    targets = [
        people(*(inputs[f"image{index}/{name}"] for name in ("keypoints", "boxes_xyxy", "areas")), size)
        for index, size in enumerate(sizes)
    ]
    logits, poses = (case.golden[name].clone().requires_grad_() for name in ("logits", "poses"))
    losses, _, _ = judge(logits, poses, targets, 17)
    sum(losses.values()).backward()
    case.check("grad_logits", logits.grad)
    case.check("grad_poses", poses.grad)


def test_gradients_of_parameters(training: Training) -> None:
    names = training.case.facts["gradient_names"]
    golden = training.case.golden[f"{training.prefix}gradient_norm"]
    rtol = training.case.facts["arrays"]["gradient_norm"]["rtol"]
    state = training.case.state
    by_tensor = {id(tensor): ours for ours, tensor in convert(state).items()}
    parameters = dict(training.model.named_parameters())
    compared = 0
    for theirs, norm in zip(names, golden, strict=True):
        gradient = parameters[by_tensor[id(state[theirs])]].grad
        if norm.isnan():
            assert gradient is None, theirs
            continue
        assert gradient.norm().item() == pytest.approx(norm.item(), rel=rtol), theirs
        compared += 1
        if not training.prefix and f"grad/{theirs}" in training.case.golden:
            step = 8 if theirs.startswith("backbone") else 1
            training.check(f"grad/{theirs}", gradient[::step])
    assert compared == 391


def judge(
    logits: Tensor, poses: Tensor, targets: list[Instances], num_keypoints: int
) -> tuple[dict[str, Tensor], Any, Tensor]:
    """Losses, matches and costs of (L, N, Q) predictions."""
    skeleton = load_skeleton({17: "coco_17", 14: "crowdpose_14"}[num_keypoints])
    options = pose_costs(skeleton.sigmas)
    costs = {name: WeightedCost(options[OURS[name]], WEIGHTS[name]) for name in ("keypoints", "oks")}
    persons = gather_persons(
        targets, num_keypoints, min_visibility=1, labels=OFFICIAL_CLASSES.labels, areas=annotated_areas
    )
    predictions = Predictions(logits, KeypointPoses(poses))
    matcher = HungarianMatcher(FocalCost(), list(costs.values()), class_weight=WEIGHTS["ce"])
    matches = matcher(predictions, persons, [len(target) for target in targets])
    criterion = SetCriterion(FocalLoss(), costs, class_weight=WEIGHTS["ce"])
    with torch.no_grad():
        table = matcher.total_costs(predictions, persons)
    return reduce_losses(criterion(predictions, persons, matches)), matches, table


@pytest.mark.parametrize("name", ["plain17", "crowd17", "plain14"])
def test_made_up_predictions(shared: Path, name: str) -> None:
    """Also more persons than queries, an image without persons, and another skeleton."""
    folder = shared / "oracles/grouppose/case_criterion"
    facts = json.loads((folder / "case.json").read_text())
    inputs, golden = arrays(folder / "inputs.npz"), arrays(folder / "outputs.npz")
    num_keypoints = facts["sets"][name]["keypoints"]
    targets = []
    for image in range(2):
        points, labeled, areas = (
            inputs[f"{name}/image{image}/{part}"] for part in ("keypoints", "labelled", "area")
        )
        boxes = torch.tensor([0.0, 0.0, 1.0, 1.0]).repeat(len(points), 1)
        targets.append(people(torch.cat([points, labeled[..., None]], dim=-1), boxes, areas, (1, 1)))
    logits = inputs[f"{name}/logits"].clone().requires_grad_()
    poses = inputs[f"{name}/poses"].clone().requires_grad_()
    losses, matches, table = judge(logits[None], poses[None], targets, num_keypoints)
    first = 0
    for image, target in enumerate(targets):
        cost = table[0, first : first + len(target)].T
        about = facts["arrays"][f"{name}/image{image}/cost"]
        expected = golden[f"{name}/image{image}/cost"]
        assert cost.shape == expected.shape
        assert_close(cost, expected, atol=about.get("atol", 0), rtol=about.get("rtol", 0))
        of_image = matches.images == image
        ours = dict(
            zip((matches.persons[of_image] - first).tolist(), matches.queries[of_image].tolist(), strict=True)
        )
        theirs = (golden[f"{name}/image{image}/{part}"].tolist() for part in ("persons", "queries"))
        assert ours == dict(zip(*theirs, strict=True))
        first += len(target)
    for theirs in WEIGHTS:
        about = facts["arrays"][f"{name}/loss_{theirs}"]
        ours = losses[f"loss_{'class' if theirs == 'ce' else theirs}"] / WEIGHTS[theirs]
        assert_close(ours.detach(), golden[f"{name}/loss_{theirs}"], atol=about["atol"], rtol=about["rtol"])
    sum(losses.values()).backward()
    for gradient, part in ((logits.grad, "logits"), (poses.grad, "poses")):
        about = facts["arrays"][f"{name}/grad_{part}"]
        assert_close(gradient, golden[f"{name}/grad_{part}"], atol=about["atol"], rtol=about["rtol"])


def test_nobody_costs_the_classes_alone(shared: Path) -> None:
    """Their sum, not divided by zero persons; the case has only the figures of this edge, not its inputs."""
    inputs = arrays(shared / "oracles/grouppose/case_criterion/inputs.npz")
    none = people(torch.zeros(0, 17, 3), torch.zeros(0, 4), torch.zeros(0), (1, 1))
    logits = inputs["plain17/logits"]
    losses, _, _ = judge(logits[None], inputs["plain17/poses"][None], [none, none], 17)
    expected = sigmoid_focal_loss(logits, torch.zeros_like(logits), 0.25, 2, reduction="sum")
    assert_close(losses["loss_class"], 2 * expected)
    assert losses["loss_keypoints"] == losses["loss_oks"] == 0
