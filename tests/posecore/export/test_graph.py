"""The graphs that are exported compute what the models compute, as plain torch and without an export."""

import sys

import pytest
import torch
from detectron2.structures import ImageList
from helpers.configs import SMALL_FCOS, build, load_cfg, override_list
from helpers.export_forms import FORMS, awake
from helpers.image_samples import sample
from helpers.model_contract import detections, skeleton_of
from torch.testing import assert_close

from posecore.config.merge import UsageError
from posecore.export.graph import ImageGraph, graph_class
from posecore.layers.padding import cell_padding

# As in the exported path, which has no operators of ours.
EXPORTING = (
    "directpose.kpalign",
    "posecore.ops.deform_conv",
    "posecore.ops.keypoint_sample",
    "posecore.ops.ms_deform_attn",
)


def batch_of(divisibility: int) -> tuple[list[dict], torch.Tensor, torch.Tensor]:
    """Images of three sizes as samples, and as the graph takes them."""
    samples = [sample(i, 1, size) for i, size in enumerate([(120, 160), (64, 101), (97, 33)])]
    samples = [{"image": inputs["image"]} for inputs in samples]
    sizes = torch.tensor([inputs["image"].shape[1:] for inputs in samples])
    height, width = (-(-sizes.amax(dim=0) // divisibility) * divisibility).tolist()
    images = torch.zeros(len(samples), 3, height, width, dtype=torch.uint8)
    for padded, inputs in zip(images, samples, strict=True):
        padded[:, : inputs["image"].shape[1], : inputs["image"].shape[2]] = inputs["image"]
    return samples, images, sizes


@pytest.mark.parametrize("name", FORMS)
def test_a_graph_finds_what_its_model_finds(name, monkeypatch):
    config, overrides = FORMS[name]
    model = awake(build(config, *override_list(overrides), "TEST.DETECTIONS_PER_IMAGE", 12))
    graph = graph_class(model)(model)
    samples, images, sizes = batch_of(graph.divisibility)
    expected = detections(model, samples)
    for module in EXPORTING:
        # posecore.ops has functions of the same names.
        monkeypatch.setattr(sys.modules[module], "is_exporting", lambda: True)
    with torch.no_grad():
        outputs = graph.compute(images, sizes)
    for row, own in enumerate(expected):
        valid = outputs["valid"][row]
        assert len(own) == valid.sum() > 0
        assert_close(outputs["scores"][row][valid], own.scores, atol=1e-5, rtol=1e-4)
        assert_close(outputs["boxes"][row][valid], own.pred_boxes.tensor, atol=1e-2, rtol=1e-4)
        keypoints = own.pred_keypoints - torch.tensor([model.shift, model.shift, 0])
        assert_close(outputs["keypoints"][row][valid], keypoints, atol=2e-2, rtol=1e-4)
        assert torch.equal(outputs["classes"][row][valid], own.pred_classes)


@pytest.mark.parametrize("num_keypoints", [5, 133])
def test_other_numbers_of_keypoints(num_keypoints, tmp_path):
    skeleton = ("DATASETS.SKELETON", skeleton_of(num_keypoints, tmp_path))
    model = awake(build("fcpose/R_50_1x.yaml", *override_list(SMALL_FCOS), *skeleton))
    graph = graph_class(model)(model)
    _, images, sizes = batch_of(graph.divisibility)
    with torch.no_grad():
        outputs = graph.compute(images, sizes)
    assert outputs["keypoints"].shape == (3, 100, num_keypoints, 3)
    assert not outputs["keypoints"][~outputs["valid"]].any()


def test_padding_is_that_of_the_model():
    batch = ImageList(torch.zeros(3, 3, 96, 160), [(96, 160), (65, 159), (1, 33)])
    sizes = torch.tensor(batch.image_sizes)
    for size in ((96, 160), (12, 20), (3, 5), (5, 9), (1, 1)):
        assert torch.equal(ImageGraph.padding(sizes, (96, 160), size), cell_padding(batch, size))


def test_nobody_in_the_image():
    model = build("fcpose/R_50_1x.yaml", *override_list(SMALL_FCOS), "MODEL.FCOS.SCORE_THRESH", 1.0).eval()
    graph = graph_class(model)(model)
    _, images, sizes = batch_of(graph.divisibility)
    with torch.no_grad():
        outputs = graph.compute(images, sizes)
    assert not any(values.any() for values in outputs.values())


def test_raw_outputs_cover_all_locations():
    model = awake(build("directpose/R_50_25ep.yaml", *override_list(SMALL_FCOS)))
    graph = graph_class(model)(model, "raw")
    _, images, sizes = batch_of(graph.divisibility)
    with torch.no_grad():
        outputs = graph.compute(images, sizes)
    locations = outputs["probability"].shape[1]
    assert outputs["keypoints"].shape == (3, locations, 17, 2)
    assert outputs["boxes"].shape == (3, locations, 4)


def test_a_model_without_a_graph_is_refused():
    from posecore.benchmarks.model import build_keypoint_rcnn

    with pytest.raises(UsageError, match=r"GeneralizedRCNN cannot be exported: .*DirectPose.*Poseur"):
        graph_class(build_keypoint_rcnn("cpu"))


def test_the_input_is_described_as_the_configuration_has_it():
    cfg = load_cfg("fcpose/R_50_1x.yaml", *override_list(SMALL_FCOS))
    model = build("fcpose/R_50_1x.yaml", *override_list(SMALL_FCOS))
    described = graph_class(model).from_config(cfg, model, "poses").input_description(cfg)
    assert described == {
        "kind": "images",
        "min_size": cfg.INPUT.MIN_SIZE_TEST,
        "max_size": cfg.INPUT.MAX_SIZE_TEST,
        "rounding": "nearest",
        "channels": cfg.INPUT.FORMAT,
        "divisibility": model.backbone.size_divisibility,
        "shift": 0.0,
    }
