"""Targets and losses, against those of both official codes on a synthetic batch and variants of it.

The stored keypoints are those that the official codes read. Losses depend only on differences between
keypoints and locations, so an offset of half a pixel does not matter here.
"""

import json
from pathlib import Path

import pytest
import torch
from detectron2.structures import Boxes, ImageList, Instances, Keypoints
from helpers.directpose_oracle import LEVELS, STRIDES, build
from helpers.oracles import arrays, load_fill
from torch import Tensor, nn
from torch.testing import assert_close

from directpose import DirectPose
from directpose.losses import heatmaps_one_per_cell, heatmaps_per_type
from posecore.modeling.fcos.head import HeadOutput, flatten_levels
from posecore.modeling.fcos.locations import make_locations
from posecore.modeling.fcos.targets import assign, box_to_ltrb, centerness, gather_positives

SIZE = (640, 1024)
SIZES = tuple((SIZE[0] // stride, SIZE[1] // stride) for stride in STRIDES)
RANGES = (64, 128, 256, 512)
# Name of the paper's official code in the stored numbers.
PAPER = "authors"


class Given(nn.Module):
    """Replaces a part of the model and returns a given value."""

    def __init__(self, value: object) -> None:
        super().__init__()
        self.value = value

    def forward(self, *_: object) -> object:
        return self.value


class GivenKeypoints(nn.Module):
    """Replaces the keypoint branch and returns given offsets (N, R, K, 2) at the selected locations."""

    def __init__(self, offsets: Tensor) -> None:
        super().__init__()
        self.offsets = offsets

    def forward(self, tower_maps: object, locations: object, selected: object) -> Tensor:
        return self.offsets[selected.images, selected.index]


def predictions(shared: Path) -> dict[str, Tensor]:
    """Made-up outputs of the networks: (2, R, C) of the head's, and the heatmap logits as a map."""
    fill = load_fill(shared)

    def levels(name: str, channels: int, make=fill.normal, scale: tuple = ()) -> Tensor:
        maps = [
            make(f"directpose/loss/{name}/{level}", (2, channels, *size), *scale)
            for level, size in zip(LEVELS, SIZES, strict=True)
        ]
        return flatten_levels([torch.from_numpy(values) for values in maps])

    heatmap = fill.normal("directpose/loss/heatmap", (2, 17, *SIZES[0]))
    return {
        "cls": levels("logits", 1) - 3,
        "centerness": levels("ctrness", 1),
        "keypoints": levels("kps", 34, scale=(2.0,)).unflatten(2, (17, 2)),
        "ltrb": levels("box", 4, fill.uniform, (0.5, 8.0)),
        "heatmap": torch.from_numpy(heatmap) - 3,
    }


def people(shared: Path, boxes: str) -> list[Instances]:
    stored = arrays(shared / "oracles/directpose/losses/people.npz")
    return [persons(stored[f"{boxes}_boxes_im{i}"], stored[f"keypoints_im{i}"]) for i in (0, 1)]


def persons(boxes: Tensor, keypoints: Tensor) -> Instances:
    return Instances(
        SIZE,
        gt_boxes=Boxes(boxes),
        gt_classes=torch.zeros(len(boxes), dtype=torch.int64),
        gt_keypoints=Keypoints(keypoints),
    )


def few_keypoints(box: list[float], labeled: dict[int, tuple[float, float, int]]) -> Instances:
    keypoints = torch.zeros(1, 17, 3)
    for index, values in labeled.items():
        keypoints[0, index] = torch.tensor(values)
    return persons(torch.tensor([box]), keypoints)


def losses(model: DirectPose, predicted: dict[str, Tensor], targets: list[Instances]) -> dict[str, float]:
    """The losses of the model if its networks predict ``predicted``."""
    num_images = len(targets)
    predicted = {name: values[:num_images] for name, values in predicted.items()}
    model.train()
    maps = {name: predicted[name] for name in model.detector.head.predictions}
    shapes = model.backbone.output_shape
    model.backbone = Given(
        {level: torch.zeros(num_images, 1, *size) for level, size in zip(LEVELS, SIZES, strict=True)}
    )
    model.backbone.output_shape = shapes
    model.detector.head = Given(HeadOutput(maps, {}))
    model.keypoint_branch = GivenKeypoints(predicted["keypoints"])
    model.heatmap_branch = Given(predicted["heatmap"])
    model.heatmap_branch.level = "p3"
    model.box_scales_keypoints = False  # the stored keypoints are scaled already
    images = ImageList(torch.zeros(num_images, 3, *SIZE), [SIZE] * num_images)
    return {name: value.item() for name, value in model.losses(images, targets).items()}


@pytest.mark.parametrize("boxes", [PAPER, "gluon"])
def test_targets(shared: Path, boxes: str) -> None:
    stored = "targets_authors" if boxes == PAPER else "targets_gluon_own_boxes"
    golden = arrays(shared / f"oracles/directpose/losses/{stored}.npz")
    where = make_locations(SIZES, STRIDES)
    batch = people(shared, boxes)
    matched = torch.stack(
        [assign(where, image.gt_boxes.tensor, radius=1.5, size_ranges=RANGES) for image in batch]
    )
    positives = gather_positives(matched, where, batch, 17)

    starts = torch.tensor(where.starts)
    official = golden["image"].long(), starts[golden["level"].long()] + golden["index"].long()
    order = (official[0] * len(where) + official[1]).argsort()
    assert torch.equal(positives.locations.images, official[0][order])
    assert torch.equal(positives.locations.index, official[1][order])
    assert torch.equal(matched[matched >= 0], golden["person"].long()[order])
    assert_close(positives.points, golden["location"][order], atol=1e-4, rtol=0)
    ltrb = box_to_ltrb(positives.points, positives.boxes)
    unit = 1 if boxes == PAPER else positives.strides[:, None]
    assert_close(ltrb / unit, golden["ltrb"][order], atol=1e-4, rtol=0)
    assert_close(centerness(ltrb), golden["centerness"][order], atol=1e-4, rtol=0)
    offsets = (positives.keypoints[..., :2] - positives.points[:, None]) / positives.strides[:, None, None]
    labeled = positives.keypoints[..., 2:] > 0
    assert_close((offsets * labeled), golden["kps"][order][..., :2], atol=1e-4, rtol=0)


def test_heatmap_targets(shared: Path) -> None:
    golden = arrays(shared / "oracles/directpose/losses/heatmap_labels.npz")
    keypoints = [image.gt_keypoints.tensor for image in people(shared, PAPER)]
    per_type = heatmaps_per_type(keypoints, SIZES[0], 8)
    expected = {tuple(row) for row in golden["gluon_stride8_image_channel_row_col"].tolist()}
    assert {tuple(row) for row in per_type.nonzero().tolist()} == expected
    for stride, size in ((8, SIZES[0]), (16, SIZES[1])):
        one = heatmaps_one_per_cell(keypoints, size, stride)
        cells = golden[f"authors_stride{stride}_image_row_col"].tolist()
        labels = golden[f"authors_stride{stride}_label"].tolist()
        expected = {(i, label - 1, y, x) for (i, y, x), label in zip(cells, labels, strict=True)}
        assert {tuple(row) for row in one.nonzero().tolist()} == expected


SCENARIOS = {
    "whole batch": None,
    "cropped": "cropped",
    "two_weak_positives": "two_weak_positives",
    "no_positive": "no_positive",
    "empty_image": "empty_image",
}


def scenario_targets(shared: Path, name: str, boxes: str) -> list[Instances]:
    batch = people(shared, boxes)
    if name == "cropped":
        batch[0].gt_keypoints.tensor[1] = 0
    elif name == "two_weak_positives":
        batch = [few_keypoints([8, 9, 18, 23], {0: (9, 10, 2), 16: (17, 22, 1)})]
    elif name == "no_positive":
        batch = [few_keypoints([14, 14, 18, 18], {0: (15, 15, 2), 16: (17, 17, 1)})]
    elif name == "empty_image":
        batch[1] = batch[1][:0]
    return batch


def check_losses(ours: dict, golden: dict, **names: str) -> None:
    """Losses against stored ones; names: ours without "loss_" -> the official code's."""
    for name, stored in names.items():
        assert ours[f"loss_{name}"] == pytest.approx(golden[stored], rel=1e-4), name


@pytest.mark.parametrize("name", SCENARIOS)
def test_losses_of_the_papers_official_code(shared: Path, name: str) -> None:
    golden = json.loads((shared / "oracles/directpose/losses/case.json").read_text())["losses"]
    golden = golden[PAPER] if name == "whole batch" else golden["scenarios"][name][PAPER]
    if "error" in golden:
        pytest.skip("the paper's official code fails on images without persons")
    model = build("official/R_50.yaml")
    ours = losses(model, predictions(shared), scenario_targets(shared, name, PAPER))
    check_losses(ours, golden, cls="cls", centerness="centerness", keypoint="kps", heatmap="heatmap_weighted")


@pytest.mark.parametrize("name", SCENARIOS)
def test_losses_of_gluon(shared: Path, name: str) -> None:
    golden = json.loads((shared / "oracles/directpose/losses/case.json").read_text())["losses"]
    if name == "whole batch":
        golden = golden["gluon_paperlike"]["authors_boxes"]
    else:
        golden = golden["scenarios"][name]["gluon_paperlike"]
    model = build("official/R_50_gluon.yaml")
    ours = losses(model, predictions(shared), scenario_targets(shared, name, PAPER))
    check_losses(ours, golden, cls="cls", centerness="ctr", keypoint="kpt_loc", heatmap="hm")


@pytest.mark.parametrize(("boxes", "key"), [("gluon", "own_boxes"), (PAPER, "authors_boxes")])
def test_losses_of_gluon_with_boxes(shared: Path, boxes: str, key: str) -> None:
    golden = json.loads((shared / "oracles/directpose/losses/case.json").read_text())["losses"]
    golden = golden["gluon_with_box"][key]
    model = build("official/R_50_gluon_boxes.yaml")
    ours = losses(model, predictions(shared), people(shared, boxes))
    check_losses(ours, golden, box="bbox_loc", keypoint="kpt_loc", centerness="ctr")
