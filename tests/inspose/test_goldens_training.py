"""Targets, losses and gradients of a training step, against those of the official code."""

import math
from pathlib import Path

import numpy as np
import pytest
import torch
from helpers.inspose_oracle import OFFICIAL, Case, official_model, official_state, people, tiny
from torch import Tensor, nn

from inspose.convert_weights import convert, coordinates_first
from inspose.disk import SupervisedCells
from inspose.heatmaps import heatmap_targets
from inspose.official.losses import regression_errors, square_targets
from inspose.official.model import person_areas
from inspose.official.trunk import PixelMaps
from posecore.modeling.fcos.detector import DensePredictions, TrainingSettings
from posecore.modeling.fcos.head import flatten_levels
from posecore.modeling.fcos.locations import make_locations
from posecore.modeling.fcos.targets import DetectionTargets, make_targets
from posecore.structures.instances import keypoint_tensors

SIZE, STRIDES = (256, 320), (8, 16, 32, 64, 128)
LEVELS = ("p3", "p4", "p5", "p6", "p7")
LOSSES = {
    "loss_cls": "loss_cls",
    "loss_keypoint": "loss_keypoint",
    "loss_keypoint_reg": "loss_keypoint_reg",
    "loss_heatmap": "loss_heatmap",
    "loss_ae_pull": "loss_ae_pull",
    "loss_ae_push": "loss_ae_push",
    "loss_disk_offset": "loss_heatmap_offset",
}
LEAVES = ("weight", "bias")
FROZEN = ("backbone.conv1", "backbone.bn1", "backbone.layer1")
KINDS = {"trainmode": "full", "evalbn": "full", "head_full": "full", "head_odd": "odd"}


@pytest.fixture(scope="module")
def case(shared: Path) -> Case:
    return Case(shared, "train", "targets_losses.npz")


def persons(case: Case, run: str) -> list:
    return [people(case.folder, KINDS[run], image, SIZE) for image in range(2)]


def level_sizes() -> list[tuple[int, int]]:
    return [(-(-SIZE[0] // stride), -(-SIZE[1] // stride)) for stride in STRIDES]


def detection_targets(case: Case, run: str) -> DetectionTargets:
    locations = make_locations(level_sizes(), STRIDES)
    return make_targets(
        locations, persons(case, run), 17, radius=1.5, size_ranges=TrainingSettings().size_ranges
    )


def their_order(targets: DetectionTargets, sizes: list[tuple[int, int]]) -> Tensor:
    """The order of locations in the official code, as an index into our N * R locations.

    They are sorted by level, then by image.
    """
    count = targets.is_positive.shape[1]
    parts = torch.arange(targets.is_positive.numel()).view(-1, count).split([h * w for h, w in sizes], dim=1)
    return torch.cat([part.flatten() for part in parts])


@pytest.mark.parametrize("run", ["head_full", "head_odd"])
def test_assignment(case: Case, run: str) -> None:
    targets = detection_targets(case, run)
    order = their_order(targets, level_sizes())
    positive = targets.is_positive.flatten()[order]
    case.check(f"{run}.assign.labels", 1 - positive.long())
    assert case.golden[f"{run}.cls.avg_factor"] == positive.sum() + 2
    # Indices of persons in the batch become indices in their image, scattered to all locations.
    instance = torch.zeros_like(targets.is_positive, dtype=torch.int64)
    selected, ltrb = targets.positives.locations, torch.zeros(*targets.is_positive.shape, 4)
    first = torch.tensor([0, 3])[selected.images]
    instance[selected.images, selected.index] = targets.positives.persons - first
    ltrb[selected.images, selected.index] = targets.ltrb
    matched = instance.flatten()[order]
    assert torch.equal(matched[positive], case.golden[f"{run}.assign.instance"][positive])
    expected = case.golden[f"{run}.assign.bbox_targets_ltrb"]
    torch.testing.assert_close(ltrb.flatten(0, 1)[order][positive], expected[positive], atol=1e-4, rtol=0)


@pytest.mark.parametrize("run", ["head_full", "head_odd"])
def test_targets_of_cells(case: Case, run: str) -> None:
    targets = persons(case, run)
    keypoints = keypoint_tensors(targets, 17)
    boxes, size = [target.gt_boxes.tensor for target in targets], (64, 80)
    case.check(f"{run}.hm.target", heatmap_targets(keypoints, boxes, size, 4), atol=1e-4)
    supervised = square_targets(keypoints, boxes, size, 4)
    case.check(f"{run}.disk.target_masked", dense_offsets(supervised, size), atol=1e-4)


def dense_offsets(supervised: SupervisedCells, size: tuple[int, int]) -> Tensor:
    """Official target offsets (2, 34, H, W), from the upper left corner of a cell, in cells."""
    maps = torch.zeros(2, 17, 2, size[0] * size[1])
    maps[supervised.images, supervised.types, :, supervised.cells] = supervised.offsets / 4 + 0.5
    return maps.flatten(1, 2).unflatten(2, size)


@pytest.mark.parametrize("run", ["head_full", "head_odd"])
def test_targets_of_regression(case: Case, run: str) -> None:
    positives = detection_targets(case, run).positives
    zero = torch.zeros_like(positives.keypoints[..., :2])
    errors = regression_errors(zero, positives.keypoints, positives.points, positives.strides)
    # In both codes positives are sorted by image, then by level.
    labeled = positives.keypoints[..., 2] > 0
    expected = case.golden[f"{run}.reg.targets"].abs().mean(dim=1)
    torch.testing.assert_close(errors[labeled], expected, atol=1e-4, rtol=0)


def check_losses(case: Case, run: str, losses: dict[str, Tensor], **tolerance: float) -> None:
    assert losses.keys() == LOSSES.keys()
    for ours, official in LOSSES.items():
        case.check(f"{run}.loss.{official}", losses[ours], **tolerance)


@pytest.mark.parametrize("run", ["head_full", "head_odd"])
def test_losses_of_given_outputs(case: Case, run: str) -> None:
    """The losses of made-up outputs of the networks, and their gradients."""
    leaves = {}

    def given(name: str, shape: tuple[int, ...], scale: float = 1.0) -> Tensor:
        leaves[name] = case.normal(f"inspose/train_head/{name}", shape, scale).requires_grad_()
        return leaves[name]

    sizes = level_sizes()
    levels = list(zip(LEVELS, sizes, strict=True))
    predictions = DensePredictions(
        {
            "cls": flatten_levels([given(f"cls.{level}", (2, 1, *size)) for level, size in levels]),
            "keypoints": flatten_levels(
                [given(f"kpt_offset.{level}", (2, 34, *size)) for level, size in levels]
            ),
        },
        {"controller": [given(f"controller.{level}", (2, 313, *size), 0.5) for level, size in levels]},
        {},
        [],
        make_locations(sizes, STRIDES),
    )
    shared_map = given("shared_feat", (2, 8, 32, 40))
    offsets = (given("hm_offset", (2, 34, 64, 80)).unflatten(1, (-1, 2)) - 0.5) * 4
    pixels = PixelMaps(given("hm", (2, 17, 64, 80)), given("ae", (2, 17, 64, 80)), offsets)

    model = tiny(config=OFFICIAL)
    copy = nn.Conv2d(313, 313, 1, bias=False)  # passes on the given parameters, reordered to our order
    copy.weight.data = coordinates_first(torch.eye(313), 8)[..., None, None]
    model.keypoint_networks.controller = copy
    targets = persons(case, run)
    boxes = [target.gt_boxes.tensor for target in targets]
    areas = torch.cat([person_areas(target) for target in targets])
    terms = model._location_terms(predictions, shared_map, detection_targets(case, run), areas)
    terms |= model._pixel_terms(pixels, keypoint_tensors(targets, 17), boxes)
    losses = {name: term.total / term.count for name, term in terms.items()}
    check_losses(case, run, losses, rtol=1e-4, atol=1e-5)
    sum(losses.values()).backward()
    for name, tensor in leaves.items():
        expected = case.golden[f"{run}.gradnorm.{name}"].item()
        assert tensor.grad.norm().item() == pytest.approx(expected, rel=1e-3, abs=1e-6), name


@pytest.mark.parametrize("run", ["trainmode", "evalbn"])
def test_losses_and_gradients_of_the_whole_model(case: Case, run: str, shared: Path) -> None:
    model = official_model(shared).train(run == "trainmode")
    images = case.normal("inspose/train/image", (2, 3, *SIZE))
    targets = persons(case, run)
    losses = model.compute_losses([{"image": images[i], "instances": targets[i]} for i in range(2)])
    check_losses(case, run, losses, rtol=2e-3, atol=1e-4)
    sum(losses.values()).backward()

    state = official_state(shared)
    ours = {id(tensor): name for name, tensor in convert(state).items()}
    ours |= {
        id(state[f"bbox_head.controller.{leaf}"]): f"keypoint_networks.controller.{leaf}" for leaf in LEAVES
    }
    parameters = dict(model.named_parameters())
    names = np.load(case.folder / "targets_losses.npz")["grad_norm_names"].tolist()
    norms = dict(zip(names, case.golden[f"{run}.grad_norms"].tolist(), strict=True))
    for official, norm in norms.items():
        if math.isnan(norm):  # frozen in the official code
            assert ours[id(state[official])] not in parameters or official.startswith(FROZEN), official
        else:
            gradient = parameters[ours[id(state[official])]].grad
            assert gradient.norm().item() == pytest.approx(norm, rel=1e-2, abs=1e-4), official
    for official, name in {
        "kpt_offset.bias": "detector.head.keypoints.bias",
        "conv_cls.bias": "detector.head.classifier.bias",
        "shared_convs.4.gn.weight": "keypoint_features.1.1.weight",
        "hm_pred.bias": "trunk.heatmaps.bias",
        "ae_pred.bias": "trunk.tags.bias",
        "hm_offset.bias": "trunk.predict_offsets.bias",
    }.items():
        case.check(f"{run}.grad.bbox_head.{official}", parameters[name].grad, rtol=1e-2, atol=1e-2)
    if run == "trainmode":
        buffers = dict(model.named_buffers())
        for official in (name for name in case.golden if name.startswith("trainmode.after.")):
            buffer = buffers[ours[id(state[official.removeprefix("trainmode.after.")])]]
            case.check(official, buffer[:32], rtol=1e-3, atol=1e-4)
