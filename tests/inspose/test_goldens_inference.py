"""The stages of inference on one image, against those of the official code for the same weights."""

from pathlib import Path

import pytest
import torch
from helpers.inspose_oracle import Case, official_model
from torch import Tensor

from inspose.convert_weights import coordinates_first
from posecore.modeling.fcos.locations import SelectedLocations

LEVELS = ("p3", "p4", "p5", "p6", "p7")
SIZE = (256, 320)
# Tolerances of raw maps, of their means and standard deviations, and of the heatmaps of KP-Nets.
RAW, STATS, MAPS = {"atol": 2e-4, "rtol": 1e-3}, {"atol": 1e-4, "rtol": 1e-3}, {"atol": 2e-3, "rtol": 1e-3}
# If the difference between the two best logits of a heatmap is smaller, rounding may change the best cell.
SAFE_MARGIN = 5e-3


@pytest.fixture(scope="module")
def case(shared: Path) -> Case:
    return Case(shared, "case_a", "outputs.npz")


@pytest.fixture(scope="module")
def stages(case: Case, shared: Path) -> dict:
    """The intermediate results of the model, from the image to the detections."""
    model = official_model(shared).eval()
    inputs = [{"image": case.normal(case.facts["input"]["name"], (3, *SIZE))}]
    with torch.no_grad():
        images = model.preprocess(inputs)
        bottom = model.backbone.bottom_up(images.tensor)
        features = model.backbone(images.tensor)
        predictions = model.detector(features)
        shared_map = model.keypoint_features(features["p3"])
        pixels = model.trunk(features["p3"])
        index = case.golden["top.flat_index"]
        selected = SelectedLocations(torch.zeros_like(index), index)
        networks = model.keypoint_networks.generate(
            predictions.towers["controller"], predictions.locations, selected
        )
        maps = model.keypoint_networks(shared_map[0], networks)
        fine = model.enlarge(maps)
        result = model(inputs)[0]["instances"]
    return locals()


def stats(maps: Tensor) -> Tensor:
    """(N, C, H, W) -> (C, 2) means and population standard deviations."""
    maps = maps.double().transpose(0, 1).flatten(1)
    return torch.stack([maps.mean(dim=1), maps.std(dim=1, correction=0)], dim=1)


def official_order(parameters: Tensor) -> Tensor:
    """(Q, 313) parameters of KP-Nets in the order of the official code, see ``coordinates_first``."""
    end = 8 * (8 + 2)
    coordinates, shared = parameters[:, :end].unflatten(1, (8, 10)).split([2, 8], dim=2)
    return torch.cat([torch.cat([shared, -coordinates], dim=2).flatten(1), parameters[:, end:]], dim=1)


def test_official_order_is_the_inverse_of_the_conversion() -> None:
    parameters = torch.randn(3, 313)
    assert torch.equal(coordinates_first(official_order(parameters).T, 8).T, parameters)


def test_backbone_and_pyramid(case: Case, stages: dict) -> None:
    for level, name in enumerate(("res3", "res4", "res5"), 3):
        case.check(f"backbone.c{level}.stats", stats(stages["bottom"][name]), **STATS)
    for level in LEVELS:
        case.check(f"fpn.{level}.stats", stats(stages["features"][level]), **STATS)
        case.check(f"fpn.{level}.ch0_3", stages["features"][level][:, :4], **RAW)


def test_head(case: Case, stages: dict) -> None:
    predictions, head = stages["predictions"], stages["model"].detector.head
    sizes = predictions.locations.sizes
    for name, key in (("cls", "cls"), ("keypoints", "kpt_offset")):
        parts = predictions.maps[name].split([height * width for height, width in sizes], dim=1)
        for level, part, size in zip(LEVELS, parts, sizes, strict=True):
            maps = part.transpose(1, 2).unflatten(2, size)
            expected = case.golden[f"head.{key}.{level}"]
            case.check(f"head.{key}.{level}", maps[:, : expected.shape[1]], **RAW)
    with torch.no_grad():
        for level in ("p5", "p7"):
            feature = stages["features"][level]
            steering = head.steering(head.keypoints(head.keypoint_tower(feature)))
            if level == "p5":
                case.check("head.dcn_offset.p5", steering, **RAW)
            for branch, key in ((head.cls, "cls"), (head.controller, "ctr")):
                star = branch.steered(branch.tower(feature), steering)
                case.check(f"head.{key}_star_conv_out.{level}.ch0_3", star[:, :4], **RAW)
                if level == "p5":
                    case.check(f"head.{key}_star_conv_out.p5.stats", stats(star), **STATS)


def test_generated_networks(case: Case, stages: dict) -> None:
    controller = stages["model"].keypoint_networks.controller
    for level, tower in zip(LEVELS, stages["predictions"].towers["controller"], strict=True):
        with torch.no_grad():
            everywhere = controller(tower)
        maps = official_order(everywhere.movedim(1, -1).flatten(0, 2)).T.unflatten(1, everywhere.shape[2:])[
            None
        ]
        case.check(f"head.controller.{level}.stats", stats(maps), **STATS)
        expected = case.golden[f"head.controller.{level}"]
        some = [0, 9, 79, 80, 87, 88, 151, 152, 159, 160, 295, 296, 312]
        case.check(f"head.controller.{level}", maps if expected.shape[1] == 313 else maps[:, some], **RAW)


def test_pixel_maps(case: Case, stages: dict) -> None:
    case.check("head.shared_feat", stages["shared_map"], **RAW)
    pixels = stages["pixels"]
    # The official offsets start at the upper left corner of a cell and are in cells.
    offsets = (pixels.offsets / 4 + 0.5).flatten(1, 2)
    for name, maps in (("hm", pixels.heatmaps), ("ae", pixels.tags), ("hm_offset", offsets)):
        case.check(f"head.{name}.stats", stats(maps), **STATS)
        part = f"head.{name}.ch0_{7 if name == 'hm_offset' else 2}"
        case.check(part, maps[:, : case.golden[part].shape[1]], **RAW)


def test_candidates(case: Case, stages: dict) -> None:
    predictions, model, selected = stages["predictions"], stages["model"], stages["selected"]
    logits = predictions.maps["cls"][0, :, 0]
    assert torch.equal(logits.argsort(descending=True)[:20], selected.index)
    case.check("top.level", predictions.locations.levels[selected.index])
    case.check("top.logit", logits[selected.index], **RAW)
    case.check("top.score", logits[selected.index].sigmoid(), atol=1e-4)
    case.check("top.point_xy", predictions.locations.points[selected.index])
    case.check("top.coord_norm", stages["networks"].ranges)
    case.check("top.params", official_order(stages["networks"].parameters), **RAW)
    case.check("top.reg_keypoints", model._regressed(predictions, selected, SIZE), atol=5e-3)


def test_peaks(case: Case, stages: dict) -> None:
    case.check("top.map8_first3", stages["maps"][:3], **MAPS)
    for name, maps in (("map8", stages["maps"]), ("map4", stages["fine"])):
        best = maps.flatten(2).topk(2, dim=2)
        case.check(f"top.{name}_max", best.values[..., 0], **MAPS)
        case.check(f"top.{name}_margin", best.values[..., 0] - best.values[..., 1], **MAPS)
        cells, width = best.indices[..., 0], maps.shape[3]
        safe = case.golden[f"top.{name}_margin"] > SAFE_MARGIN
        peaks = torch.stack([cells % width, cells // width], dim=-1)
        assert safe.float().mean() > 0.9
        assert torch.equal(peaks[safe], case.golden[f"top.{name}_argmax_xy"][safe])


def test_detections(case: Case, stages: dict) -> None:
    result = stages["result"]
    assert len(result) == 100
    case.check("det.bbox_score", torch.cat([result.pred_boxes.tensor, result.scores[:, None]], 1), atol=5e-3)
    torch.testing.assert_close(result.scores, case.golden["det.bbox_score"][:, 4], atol=1e-3, rtol=0)
    case.check("det.keypoints", result.pred_keypoints, atol=5e-3)


def test_each_image_of_a_batch_has_its_own_offsets(case: Case, stages: dict) -> None:
    """The official code reads the offsets of the first image for all images of a batch."""
    image = stages["inputs"][0]["image"]
    other = case.normal("another image", (3, *SIZE))
    with torch.no_grad():
        result = stages["model"]([{"image": other}, {"image": image}])[1]["instances"]
    torch.testing.assert_close(result.pred_keypoints, stages["result"].pred_keypoints, atol=5e-3, rtol=0)
