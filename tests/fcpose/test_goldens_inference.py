"""The stages of inference on one image, against those of the official code for the same weights."""

from dataclasses import replace
from pathlib import Path

import pytest
import torch
from helpers.fcpose_oracle import Case
from torch import Tensor

from posecore.modeling.fcos.locations import SelectedLocations

LEVELS = ("p3", "p4", "p5", "p6", "p7")
# If the difference between the two best logits of a heatmap is smaller, rounding may change the best cell.
SAFE_MARGIN = 1e-3


@pytest.fixture(scope="module")
def case(shared: Path) -> Case:
    return Case(shared, "case_a")


@pytest.fixture(scope="module")
def stages(case: Case) -> dict:
    """The intermediate results of the model, from the image to the detections."""
    model = case.model().eval()
    inputs = [{"image": case.uniform("fcpose/case_a/image", (3, 256, 320), 0, 255)}]
    with torch.no_grad():
        images = model.preprocess(inputs)
        features = model.backbone(images.tensor)
        predictions = model.detector(features)
        locations = predictions.locations
        shared = model.shared_branch(features)
        result = model(inputs)[0]["instances"]
        level, location = case.golden["fpn_levels"].long(), case.golden["locations"]
        cells = (location / torch.tensor(model.detector.strides)[level][:, None]).long()
        widths = torch.tensor([width for _, width in locations.sizes])
        index = torch.tensor(locations.starts)[level] + cells[:, 1] * widths[level] + cells[:, 0]
        selected = SelectedLocations(torch.zeros_like(index), index)
        heads = model.keypoint_head.generate(predictions.towers["box"], locations, selected)
        auxiliary = model.auxiliary(shared.merged)
        heatmaps = model.keypoint_head(shared.bases[0], heads)
    return locals()


def per_level(stages: dict, name: str) -> dict[str, Tensor]:
    sizes = stages["locations"].sizes
    parts = stages["predictions"].maps[name].split([height * width for height, width in sizes], dim=1)
    return {
        level: part.transpose(1, 2).unflatten(2, size)
        for level, part, size in zip(LEVELS, parts, sizes, strict=True)
    }


def test_pyramid(case: Case, stages: dict) -> None:
    features = stages["features"]
    for level in LEVELS:
        case.check(f"fpn_{level}_mean", features[level].mean(dim=(0, 2, 3)))
        case.check(f"fpn_{level}_std", features[level].std(dim=(0, 2, 3), correction=0))
    case.check("fpn_p3_slice", features["p3"][:, ::32])
    case.check("fpn_p6_slice", features["p6"][:, ::8])
    case.check("fpn_p7", features["p7"])


def test_detector(case: Case, stages: dict) -> None:
    for official, ours in (("cls", "cls"), ("reg", "ltrb"), ("ctr", "centerness")):
        for level, values in per_level(stages, ours).items():
            case.check(f"fcos_{official}_{level}", values.relu() if ours == "ltrb" else values)


def test_shared_maps(case: Case, stages: dict) -> None:
    case.check("bases", stages["shared"].bases)
    case.check("direction", stages["shared"].offsets.flatten(1, 2))
    case.check("p3_logits", stages["auxiliary"].coarse[:, :, ::2, ::2])


def test_generated_heads(case: Case, stages: dict) -> None:
    heads, head = stages["heads"], stages["model"].keypoint_head
    detail = case.golden["detail_inds"].long()
    case.check("controller_params", heads.parameters[:20])
    case.check("detail_controller_params", heads.parameters[detail])
    case.check("detail_rel", head.relative_coordinates(heads[detail], (32, 40)))
    case.check("detail_heatmap_logits", stages["heatmaps"][detail, ::2])


def test_peaks(case: Case, stages: dict) -> None:
    peaks = stages["model"].keypoint_head.peaks(stages["shared"].bases[0], stages["heads"])
    safe = case.golden["heatmap_margin"] >= SAFE_MARGIN
    assert safe.float().mean() > 0.99
    case.check("heatmap_argmax", peaks.cells, where=lambda values: values[safe])
    case.check("heatmap_max", peaks.logits)
    best = stages["heatmaps"].flatten(2).topk(2, dim=2).values
    case.check("heatmap_margin", best[..., 0] - best[..., 1])


def test_detections(case: Case, stages: dict) -> None:
    result = stages["result"]
    case.check("pred_boxes", result.pred_boxes.tensor)
    case.check("scores", result.scores)
    case.check("pred_classes", result.pred_classes)
    safe = case.golden["heatmap_margin"] >= SAFE_MARGIN
    case.check("pred_keypoints", result.pred_keypoints, where=lambda values: values[safe])


def test_every_detection(case: Case, stages: dict) -> None:
    model, settings = stages["model"], stages["model"].detector.inference_settings
    model.detector.inference_settings = replace(settings, max_detections=1000)
    with torch.no_grad():
        result = model(stages["inputs"])[0]["instances"]
    model.detector.inference_settings = settings
    case.check("all_scores", result.scores)
    # How detections are ordered whose scores differ by rounding alone depends on the processor.
    order = torch.cdist(case.golden["all_pred_boxes"], result.pred_boxes.tensor, p=torch.inf).argmin(dim=1)
    assert sorted(order.tolist()) == list(range(len(order)))
    case.check("all_scores", result.scores[order])
    case.check("all_pred_boxes", result.pred_boxes.tensor[order])
