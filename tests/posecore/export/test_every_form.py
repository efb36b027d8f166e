"""Every form of every method as an ONNX model, in both runtimes and in every precision (minutes)."""

import dataclasses
import importlib.util
import json
from pathlib import Path

import numpy as np
import pytest
import torch
from helpers.configs import load_cfg, override_list
from helpers.export_forms import FORMS, awake
from helpers.exported_models import SETTINGS, TINY_POSEUR, tiny_poseur, weights_of
from helpers.model_contract import skeleton_of

from posecore.export.comparison import Tolerance
from posecore.export.graph import graph_class
from posecore.export.images import drawn_images
from posecore.export.onnx_export import export_onnx
from posecore.export.onnx_file import write_onnx
from posecore.inference.onnx import SESSIONS, OnnxPredictor, description_file
from posecore.modeling.build import build_model
from posecore.structures.skeleton import load_skeleton

pytestmark = pytest.mark.long

onnx = pytest.importorskip("onnx", reason="exports need requirements/export.txt")
pytest.importorskip("onnxscript", reason="exports need requirements/export.txt")
pytest.importorskip("onnxruntime", reason="exports need requirements/export.txt")

SIZES = (([[256, 320], [200, 300]], (256, 320)), ([[120, 180]], (128, 192)), ([[384, 256]] * 3, (384, 256)))


def backends() -> list[str]:
    """The runtimes that are installed."""
    return [name for name in SESSIONS if importlib.util.find_spec(name) is not None]


@pytest.mark.parametrize("outputs", ["poses", "raw"])
@pytest.mark.parametrize("name", FORMS)
def test_the_onnx_model_computes_the_graph(name, outputs, tmp_path):
    config, overrides = FORMS[name]
    cfg = load_cfg(config, *override_list(overrides), "TEST.DETECTIONS_PER_IMAGE", 12)
    torch.manual_seed(0)
    model = awake(build_model(cfg))
    graph = graph_class(model).from_config(cfg, model, outputs)
    file = tmp_path / "model.onnx"
    write_onnx(graph, file)
    nodes = onnx.load(str(file)).graph.node
    assert {node.domain for node in nodes} == {""}
    assert "GridSample" not in {node.op_type for node in nodes}
    for backend in backends():
        session = SESSIONS[backend](file, 1)
        for sizes, (height, width) in SIZES:
            images = torch.randint(0, 256, (len(sizes), 3, height, width), dtype=torch.uint8)
            inputs = {"images": images, "sizes": torch.tensor(sizes)}
            with torch.no_grad():
                expected = graph.compute(*inputs.values())
            found = session.run({key: value.numpy() for key, value in inputs.items()})
            assert found.keys() == expected.keys()
            for key, value in expected.items():
                assert found[key].shape == tuple(value.shape)
                largest = max(value.float().abs().max().item(), 1.0)
                far = np.abs(found[key] - value.float().numpy()) > 1e-4 * largest
                # The peak of a random heatmap may jump between two cells that are nearly equal.
                assert far.mean() <= (0.05 if key == "keypoints" and outputs == "poses" else 0), (
                    backend,
                    key,
                )


def awake_weights(name: str, folder: Path, *overrides: object):
    """The configuration of a form with weights that find persons."""
    config, values = FORMS[name]
    cfg = weights_of(load_cfg(config, *override_list(values), *overrides), folder)
    torch.manual_seed(0)
    torch.save({"model": awake(build_model(cfg)).state_dict()}, cfg.MODEL.WEIGHTS)
    return cfg


@pytest.mark.parametrize("num_keypoints", [5, 133])
def test_other_skeletons_are_exported(num_keypoints, tmp_path):
    skeleton = ("DATASETS.SKELETON", skeleton_of(num_keypoints, tmp_path))
    small = ("INPUT.MIN_SIZE_TEST", 128, "TEST.DETECTIONS_PER_IMAGE", 5)
    cfg = awake_weights("fcpose", tmp_path, *skeleton, *small)
    images = drawn_images(load_skeleton(skeleton[1]), 2, (120, 160))
    report = export_onnx(cfg, tmp_path / "model.onnx", images, SETTINGS)
    assert report.deviation.persons > 0
    exported = OnnxPredictor.from_file(tmp_path / "model.onnx")
    batch = exported.batch([check.image for check in images])
    assert batch[0].pred_keypoints.shape[1:] == (num_keypoints, 3)
    alone = exported(images[0].image)
    np.testing.assert_allclose(alone.pred_keypoints, batch[0].pred_keypoints, atol=1e-3)


@pytest.mark.parametrize("precision", ["float16", "int8"])
def test_other_precisions_are_near(precision, tmp_path):
    cfg = tiny_poseur(tmp_path)
    images = drawn_images(load_skeleton("coco_17"), 4, (120, 160))
    settings = dataclasses.replace(SETTINGS, precision=precision, tolerance=Tolerance(3.0, "mean"))
    plain = export_onnx(cfg, tmp_path / "float32.onnx", images, SETTINGS)
    report = export_onnx(cfg, tmp_path / "model.onnx", images, settings)
    assert plain.deviation.mean_pixels < report.deviation.mean_pixels
    sizes = [(tmp_path / file).stat().st_size for file in ("float32.onnx", "model.onnx")]
    assert sizes[1] < 0.6 * sizes[0]
    content = json.loads(description_file(tmp_path / "model.onnx").read_text())
    assert content["precision"] == precision
    graph_inputs = onnx.load(str(tmp_path / "model.onnx")).graph.input
    assert [value.name for value in graph_inputs] == ["crops", "box_scores"]
    assert not list(tmp_path.glob(".*"))


def test_a_poseur_with_decoder_and_flip_test(tmp_path):
    overrides = {key: value for key, value in TINY_POSEUR.items() if not key.startswith("MODEL.POSEUR")}
    cfg = load_cfg("poseur/R_50_256x192.yaml", *override_list(overrides), "MODEL.POSEUR.NUM_LAYERS", 2)
    cfg = weights_of(cfg, tmp_path)
    images = drawn_images(load_skeleton("coco_17"), 2, (120, 160))
    for backend in backends():
        settings = dataclasses.replace(SETTINGS, backend=backend)
        assert export_onnx(cfg, tmp_path / "model.onnx", images, settings).deviation.persons > 0
