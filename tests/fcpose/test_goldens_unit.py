"""The parts of FCPose alone, against the official code: heads, sampling and losses, and the detector."""

from pathlib import Path

import pytest
import torch
from detectron2.structures import Boxes, Instances, Keypoints
from helpers.fcpose_oracle import Case
from torch import Tensor

from fcpose import FCPose
from fcpose.losses import KeypointBatch, expected_distance, upsampled_cross_entropy
from fcpose.sampling import sample_positives
from posecore.modeling.fcos.decode import ltrb_to_box, select_candidates, suppress
from posecore.modeling.fcos.head import flatten_levels
from posecore.modeling.fcos.locations import make_locations
from posecore.modeling.fcos.losses import box_loss, centerness_loss, focal_loss
from posecore.modeling.fcos.targets import assign, box_to_ltrb, centerness, gather_positives
from posecore.modeling.keypoint_network import GeneratedNetworks

STRIDES = (8, 16, 32, 64, 128)
RANGES = (64, 128, 256, 512)
SIZES = ((96, 128), (48, 64), (24, 32), (12, 16), (6, 8))
IMAGE = (768, 1024)


@pytest.fixture(scope="module")
def case(shared: Path) -> Case:
    return Case(shared, "unit")


@pytest.fixture(scope="module")
def model(case: Case) -> FCPose:
    return case.model()


def heads_from(model: FCPose, features: Tensor, points: Tensor, levels: Tensor) -> GeneratedNetworks:
    """The heads that the controller generates from (Q, 2304) unfolded patches."""
    controller = model.keypoint_head.controller
    parameters = torch.nn.functional.linear(features, controller.weight.flatten(1), controller.bias)
    return GeneratedNetworks(parameters, points, model.keypoint_head.ranges[levels])


@torch.no_grad()
def test_heads_on_every_level(case: Case, model: FCPose) -> None:
    maps = case.normal("fcpose/unit/eval/bases_raw", (1, 66, 8, 10))[0]
    points = case.uniform("fcpose/unit/eval/locations", (10, 2)) * torch.tensor([80.0, 64.0])
    features = case.normal("fcpose/unit/eval/top_feat", (10, 2304))
    heads = heads_from(model, features, points, torch.arange(10) % 5)
    case.check("eval_params", heads.parameters[:, ::4])
    case.check("eval_rel", model.keypoint_head.relative_coordinates(heads, (8, 10)))
    case.check("eval_heatmap_logits", model.keypoint_head(maps[:32], heads))
    peaks = model.keypoint_head.peaks(maps[:32], heads)
    columns, rows = peaks.cells % 10, peaks.cells // 10
    offsets = maps[32:].unflatten(0, (17, 2))[torch.arange(17), :, rows, columns]
    points = (torch.stack([columns, rows], dim=-1) + 0.5) * 8 + offsets
    case.check("eval_pred_keypoints", torch.cat([points, peaks.logits[..., None]], dim=-1))


def test_sampling_and_keypoint_losses(case: Case, model: FCPose) -> None:
    given = case.facts["train_input"]
    maps = case.normal("fcpose/unit/train/bases_raw", (2, 66, 8, 10)).requires_grad_()
    features = case.normal("fcpose/unit/train/top_feats", (14, 2304)).requires_grad_()
    points = case.uniform("fcpose/unit/train/locations", (14, 2)) * torch.tensor([80.0, 64.0])
    confidence = case.normal("fcpose/unit/train/logits", (14, 1))[:, 0].sigmoid()
    confidence = confidence * case.normal("fcpose/unit/train/ctr", (14,)).sigmoid()
    images, persons, levels = (torch.tensor(given[key]) for key in ("im_inds", "gt_inds", "fpn_levels"))
    sample = sample_positives(persons, confidence, limit=9)

    # In the official code the positives of a person are sorted best first, or not sorted if all are sampled.
    official = {tuple(point): i for i, point in enumerate(case.golden["train_sel_locations"].tolist())}
    order = torch.tensor([official[tuple(point)] for point in points[sample.index].tolist()]).argsort()
    index = sample.index[order]
    case.check("train_sel_gt_inds", persons[index])
    case.check("train_sel_levels", levels[index])
    case.check("train_sel_num_loss", (1 / sample.weights[order]).round().int())

    heads = heads_from(model, features[index], points[index], levels[index])
    logits = torch.cat([model.keypoint_head(maps[i, :32], heads[images[index] == i]) for i in range(2)])
    case.check("train_heatmap_logits", logits)
    people = [case.inputs["keypoints_0"], case.inputs["keypoints_1"]]
    batch = KeypointBatch(
        logits=logits,
        weights=sample.weights[order],
        images=images[index],
        boxes=torch.cat([case.inputs["boxes_0"], case.inputs["boxes_1"]])[persons[index]],
        keypoints=torch.cat(people)[persons[index]],
        offsets=maps[:, 32:].unflatten(1, (17, 2)),
        read_offsets=lambda cells: torch.zeros(*cells.shape, 2),  # not used by the official losses
        people=people,
        stride=8,
    )
    losses = []
    for loss, weight, name in (
        (upsampled_cross_entropy, 2.5, "loss/loss_keypoint"),
        (expected_distance, 9.0, "loss/loss_direction"),
    ):
        term = loss(batch)
        losses.append(weight * term.total / term.count)
        case.check(name, losses[-1])
    model.zero_grad()
    sum(losses).backward()
    case.check("grad/bases_raw", maps.grad[:, ::3])
    case.check("grad/top_feats", features.grad[:, ::23])
    case.check("grad/atten_producer.weight_norm", model.keypoint_head.controller.weight.grad.norm())


@pytest.fixture(scope="module")
def maps(case: Case) -> dict[str, list[Tensor]]:
    """The outputs of the detector for each level: class and centerness logits, and ltrb in cells."""
    given: dict[str, list[Tensor]] = {"cls": [], "reg": [], "ctr": []}
    for level, size in zip(("p3", "p4", "p5", "p6", "p7"), SIZES, strict=True):
        given["cls"].append(case.normal(f"fcpose/unit/fcos/cls_{level}", (3, 1, *size), 2.0) - 3)
        given["reg"].append(case.normal(f"fcpose/unit/fcos/reg_{level}", (3, 4, *size), 2.0).abs() + 0.125)
        given["ctr"].append(case.normal(f"fcpose/unit/fcos/ctr_{level}", (3, 1, *size)))
    return given


def test_detector_targets_and_losses(case: Case, maps: dict[str, list[Tensor]]) -> None:
    maps = {name: [level.clone().requires_grad_() for level in levels] for name, levels in maps.items()}
    locations = make_locations(SIZES, STRIDES)
    targets = [
        Instances(
            IMAGE,
            gt_boxes=Boxes(case.inputs[f"fcos_boxes_{i}"]),
            gt_keypoints=Keypoints(torch.zeros(len(case.inputs[f"fcos_boxes_{i}"]), 17, 3)),
        )
        for i in range(3)
    ]
    matched = torch.stack(
        [assign(locations, x.gt_boxes.tensor, radius=1.5, size_ranges=RANGES) for x in targets]
    )
    positives = gather_positives(matched, locations, targets, 17)
    levels = locations.levels[positives.locations.index]
    order = (levels * 3 + positives.locations.images).argsort(stable=True)
    case.check("fcos_pos_levels", levels[order])
    case.check("fcos_pos_gt_inds", positives.persons[order])
    ltrb = box_to_ltrb(positives.points, positives.boxes)
    cells, middle = ltrb / positives.strides[:, None], centerness(ltrb)
    case.check("fcos_pos_reg_targets", cells[order])
    case.check("fcos_pos_ctr_targets", middle[order])
    case.check("fcos_loss_denorm", middle.sum())

    flat = {name: flatten_levels(levels) for name, levels in maps.items()}
    at = positives.locations.images, positives.locations.index
    count = torch.tensor(float(len(positives)))
    losses = {
        "cls": focal_loss(flat["cls"][..., 0], matched >= 0, alpha=0.25, gamma=2.0) / count,
        "loc": box_loss(flat["reg"][at], cells, middle, smoothing=1.0) / middle.sum(),
        "ctr": centerness_loss(flat["ctr"][at][:, 0], middle) / count,
    }
    for name, loss in losses.items():
        case.check(f"loss/loss_fcos_{name}", loss)
    sum(losses.values()).backward()
    for name, levels in maps.items():
        case.check(f"grad/fcos_{name}_p5", levels[2].grad)


def test_detections(case: Case, maps: dict[str, list[Tensor]]) -> None:
    locations = make_locations(SIZES, STRIDES)
    flat = {name: flatten_levels(levels) for name, levels in maps.items()}
    probability = flat["cls"][..., 0].sigmoid()
    scores = (probability * flat["ctr"][..., 0].sigmoid()).sqrt()
    candidates = select_candidates(
        probability, scores, locations, score_thresh=0.05, topk_per_level=1000, topk_per_image=0
    )
    at = candidates.locations.images, candidates.locations.index
    points, strides = locations.points[at[1]], locations.strides[at[1]]
    boxes = ltrb_to_box(points, flat["reg"][at] * strides[:, None])
    parts = [
        values.split(candidates.counts)
        for values in (boxes, candidates.scores, points, locations.levels[at[1]])
    ]
    for image, (own_boxes, own_scores, own_points, levels) in enumerate(zip(*parts, strict=True)):
        kept = suppress(own_boxes, own_scores, nms_thresh=0.6, max_detections=100)
        case.check(f"fcos_boxes_{image}", own_boxes[kept])
        case.check(f"fcos_scores_{image}", own_scores[kept])
        case.check(f"fcos_locations_{image}", own_points[kept])
        case.check(f"fcos_levels_{image}", levels[kept])
