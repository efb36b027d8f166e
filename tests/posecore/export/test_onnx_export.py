"""An export from the weights to the poses of the runtime, of the smallest model that there is."""

import dataclasses
import json
import runpy
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import torch
import yaml
from helpers.exported_models import POSEUR, TINY_POSEUR, export, tiny_poseur
from numpy.testing import assert_allclose

from posecore.config.repository import CONFIGS
from posecore.data.person_boxes import PersonBoxes
from posecore.data.synthetic.images import make_dataset
from posecore.export.comparison import (
    TOLERANCES,
    DeviationError,
    ExportedModel,
    MetricPair,
    Tolerance,
)
from posecore.export.images import drawn_images, read_check_images
from posecore.inference.onnx import (
    OPENVINO_PRECISIONS,
    OnnxPredictor,
    OpenVINOPrecision,
    description_file,
)
from posecore.inference.predictor import Predictor
from posecore.structures.skeleton import load_skeleton

onnx = pytest.importorskip("onnx", reason="exports need requirements/export.txt")
pytest.importorskip("onnxscript", reason="exports need requirements/export.txt")
pytest.importorskip("onnxruntime", reason="exports need requirements/export.txt")

# Blocks the packages that the runtime must do without, then predicts.
WITHOUT_TORCH = """
import sys

blocked = {"torch", "torchvision", "detectron2", "PIL", "scipy", "matplotlib", "timm", "yaml", "onnx"}

class Blocker:
    def find_spec(self, name, path=None, target=None):
        if name.partition(".")[0] in blocked:
            raise ModuleNotFoundError(f"{name} is blocked", name=name)

sys.meta_path.insert(0, Blocker())
import numpy as np
from posecore.inference.onnx import DetectedBoxes, OnnxPredictor

given = np.load(sys.argv[2])
predictor = OnnxPredictor.from_file(sys.argv[1])
poses = predictor(given["image"], DetectedBoxes(given["boxes"], np.ones(len(given["boxes"]))))
assert not blocked & set(sys.modules), blocked & set(sys.modules)
np.save(sys.argv[3], poses.pred_keypoints)
"""


def images():
    """Three drawn images, one without anybody."""
    drawn = drawn_images(load_skeleton("coco_17"), 2, (120, 160))
    nobody = dataclasses.replace(drawn[0], boxes=PersonBoxes(np.zeros((0, 4)), np.zeros(0)))
    return [drawn[0], nobody, drawn[1]]


@pytest.fixture(scope="module")
def predictor(exported_poseur: Path) -> Predictor:
    cfg = tiny_poseur(exported_poseur.parent)
    cfg.MODEL.WEIGHTS = str(exported_poseur.with_name("model.pth"))
    return Predictor.from_config(cfg)


def test_the_model_has_only_operators_of_the_standard(exported_poseur):
    model = onnx.load(str(exported_poseur))
    onnx.checker.check_model(model)
    assert {node.domain for node in model.graph.node} == {""}
    assert "GridSample" not in {node.op_type for node in model.graph.node}
    assert [entry.version for entry in model.opset_import if entry.domain == ""] == [18]
    dimensions = model.graph.input[0].type.tensor_type.shape.dim
    assert dimensions[0].dim_param
    assert [dimension.dim_value for dimension in dimensions[1:]] == [3, 64, 48]


def test_the_runtime_finds_what_pytorch_finds(exported_poseur, predictor):
    exported = OnnxPredictor.from_file(exported_poseur, threads=1)
    assert exported.needs_boxes
    checks = images()
    batch = exported.batch([check.image for check in checks], [check.boxes for check in checks])
    for check, poses in zip(checks, batch, strict=True):
        ours = predictor(check.image, check.boxes)
        assert poses.image_size == ours.image_size
        assert len(poses) == len(ours)
        assert_allclose(poses.pred_keypoints, ours.pred_keypoints, atol=1e-3, rtol=1e-4)
        assert_allclose(poses.scores, ours.scores, atol=1e-5)
        assert_allclose(poses.pred_boxes, ours.pred_boxes.tensor, atol=1e-3)
        assert poses.pred_classes.tolist() == ours.pred_classes.tolist()
    assert len(batch[1]) == 0
    alone = exported(checks[2].image, checks[2].boxes)
    assert_allclose(alone.pred_keypoints, batch[2].pred_keypoints, atol=1e-4)


@pytest.mark.parametrize("precision", ["bfloat16", "float16"])
def test_a_runtime_computes_in_half_precision(precision, exported_poseur, predictor):
    openvino = pytest.importorskip("openvino", reason="this runtime needs requirements/openvino.txt")
    check = images()[0]
    ours = predictor(check.image, check.boxes).pred_keypoints
    if OPENVINO_PRECISIONS[precision].capability not in openvino.Core().get_property(
        "CPU", "OPTIMIZATION_CAPABILITIES"
    ):
        with pytest.raises(ValueError, match=f"this processor does not compute in {precision}"):
            OnnxPredictor.from_file(exported_poseur, backend="openvino", precision=precision)
        return
    exported = OnnxPredictor.from_file(exported_poseur, backend="openvino", threads=1, precision=precision)
    far = np.abs(exported(check.image, check.boxes).pred_keypoints[..., :2] - ours[..., :2].numpy())
    assert far.max() < 0.1


def test_a_precision_that_the_processor_lacks_is_said(exported_poseur, monkeypatch):
    pytest.importorskip("openvino", reason="this runtime needs requirements/openvino.txt")
    monkeypatch.setitem(OPENVINO_PRECISIONS, "float16", OpenVINOPrecision("f16", "NOT THIS ONE"))
    with pytest.raises(ValueError, match="this processor does not compute in float16: the precision of"):
        OnnxPredictor.from_file(exported_poseur, backend="openvino", precision="float16")


def test_persons_come_from_a_detector(exported_poseur):
    class Detector:
        def batch(self, images):
            poses = exported.batch(
                images, [PersonBoxes(np.array([[5.0, 5, 60, 100]]), np.ones(1))] * len(images)
            )
            return [
                dataclasses.replace(own, pred_classes=own.pred_classes + row) for row, own in enumerate(poses)
            ]

    exported = OnnxPredictor.from_file(exported_poseur)
    with pytest.raises(ValueError, match="give the boxes of the persons, or a detector"):
        exported(images()[0].image)
    found = OnnxPredictor(exported.description, exported.session, detector=Detector())
    # The second image has only a detection of class 1, which is no person.
    assert [len(poses) for poses in found.batch([check.image for check in images()[:2]])] == [1, 0]


def test_it_runs_where_pytorch_cannot_be_imported(exported_poseur, predictor, root, tmp_path):
    check = images()[0]
    np.savez(tmp_path / "given.npz", image=check.image, boxes=check.boxes.boxes)
    command = [
        sys.executable,
        "-c",
        WITHOUT_TORCH,
        exported_poseur,
        tmp_path / "given.npz",
        tmp_path / "out.npy",
    ]
    done = subprocess.run(
        list(map(str, command)), env={"PYTHONPATH": str(root)}, capture_output=True, text=True, timeout=120
    )
    assert done.returncode == 0, done.stderr
    ours = predictor(check.image, check.boxes).pred_keypoints
    assert_allclose(np.load(tmp_path / "out.npy"), ours, atol=1e-3, rtol=1e-4)


def test_an_evaluation_takes_the_exported_model(exported_poseur, predictor):
    check = images()[0]
    inputs = predictor.samples.sample(check.image, check.boxes)
    found = ExportedModel(OnnxPredictor.from_file(exported_poseur))([inputs])[0]["instances"]
    ours = predictor(check.image, check.boxes)
    torch.testing.assert_close(found.pred_keypoints, ours.pred_keypoints, atol=1e-3, rtol=1e-4)
    assert found.image_size == ours.image_size


def test_the_description_says_what_was_measured(exported_poseur):
    content = json.loads(description_file(exported_poseur).read_text())
    assert content["method"] == "Poseur"
    assert content["precision"] == "float32"
    assert content["skeleton"]["keypoints"] == list(load_skeleton("coco_17").keypoints)
    assert content["input"]["size"] == [64, 48]
    assert content["measured"]["backend"] == "onnxruntime"
    assert content["measured"]["runtime_precision"] == "float32"
    assert content["versions"]["onnxruntime"] != "not installed"
    measured = content["measured"]
    assert measured["persons"] >= 2
    assert measured["missed"] == 0
    assert 0 <= measured["mean_pixels"] <= measured["largest_pixels"] < 0.5
    assert measured["milliseconds_pytorch"] > 0 < measured["milliseconds_exported"]


def test_a_deviation_leaves_no_file(tmp_path, monkeypatch, exported_poseur):
    """The exported model that is checked is another one: its coordinates are of another model."""
    cfg = tiny_poseur(tmp_path)
    other = torch.load(cfg.MODEL.WEIGHTS)
    head = next(name for name in other["model"] if name.startswith("network.head") and name.endswith("bias"))
    other["model"][head] += 0.5
    torch.save(other, cfg.MODEL.WEIGHTS)
    wrong = exported_poseur.read_bytes()
    monkeypatch.setattr("posecore.export.onnx_export.write_onnx", lambda graph, file: file.write_bytes(wrong))
    before = sorted(tmp_path.iterdir())
    with pytest.raises(DeviationError, match=r"the largest distance of a keypoint is .*nothing was written"):
        export(cfg, tmp_path / "model.onnx")
    assert sorted(tmp_path.iterdir()) == before


def test_a_data_set_is_evaluated_with_both(tmp_path, monkeypatch, exported_poseur):
    definition = make_dataset(tmp_path / "data", num_images=2, size=(96, 128), split="val", crowds=0.0)
    cfg = tiny_poseur(
        tmp_path,
        "DATASETS.DEFINITIONS",
        (str(definition),),
        "DATASETS.TEST",
        ("synthetic_val",),
        "INPUT.CROPS.BOXES",
        "ground_truth",
        "DATALOADER.NUM_WORKERS",
        0,
    )
    cfg.MODEL.WEIGHTS = str(exported_poseur.with_name("model.pth"))
    written = exported_poseur.read_bytes()
    monkeypatch.setattr(
        "posecore.export.onnx_export.write_onnx", lambda graph, file: file.write_bytes(written)
    )
    report = export(cfg, tmp_path / "model.onnx", evaluate=True)
    assert report.metrics.name == "AP"
    assert report.metrics.lost == pytest.approx(0, abs=0.1)
    measured = json.loads(description_file(tmp_path / "model.onnx").read_text())["measured"]
    assert measured["metrics"]["exported"].keys() == measured["metrics"]["pytorch"].keys()


def test_a_lost_metric_is_an_error():
    pair = MetricPair({"AP": 50.0, "AP50": 80.0}, {"AP": 48.0, "AP50": 80.0})
    pair.check(Tolerance(0.5, "mean", metric=2.0))
    with pytest.raises(
        DeviationError, match=r"loses 2.00 AP \(50.00 to 48.00\), more than --metric-tolerance 1"
    ):
        pair.check(Tolerance(0.5, "mean", metric=1.0))


def run_tool(root: Path, monkeypatch: pytest.MonkeyPatch, *arguments: object) -> str | int | None:
    """The exit status or message of tools/export.py."""
    monkeypatch.setattr(sys, "argv", ["export.py", *map(str, arguments)])
    with pytest.raises(SystemExit) as end:
        runpy.run_path(str(root / "tools" / "export.py"), run_name="__main__")
    return end.value.code


@pytest.fixture
def command(tmp_path, exported_poseur):
    """The arguments of an export of the tiny model."""
    config = {"_BASE_": str(CONFIGS / POSEUR), "MODEL": {"DEVICE": "cpu"}}
    for key, value in TINY_POSEUR.items():
        node = config
        *parents, last = key.split(".")
        for parent in parents:
            node = node.setdefault(parent, {})
        node[last] = list(value) if isinstance(value, tuple) else value
    (tmp_path / "tiny.yaml").write_text(yaml.safe_dump(config))
    weights = exported_poseur.with_name("model.pth")
    return ["--config-file", tmp_path / "tiny.yaml", "--output", tmp_path / "new.onnx"], [
        "MODEL.WEIGHTS",
        weights,
    ]


def test_the_tool_writes_model_and_description(command, exported_poseur, root, tmp_path, monkeypatch, capsys):
    options, overrides = command
    written = exported_poseur.read_bytes()
    monkeypatch.setattr(
        "posecore.export.onnx_export.write_onnx", lambda graph, file: file.write_bytes(written)
    )
    status = run_tool(root, monkeypatch, *options, "--num-images", 2, *overrides)
    assert status is None
    assert {file.name for file in tmp_path.iterdir()} == {"tiny.yaml", "new.onnx", "new.onnx.json"}
    printed = capsys.readouterr().out
    assert "persons in 2 images; keypoints deviate by" in printed
    assert "ms, in PyTorch" in printed


@pytest.mark.parametrize(
    ("more", "message"),
    [
        (["--images", "missing.jpg"], "missing.jpg"),
        (["--tolerance", "nan"], "--tolerance and --metric-tolerance must be 0 or more"),
        (["--outputs", "raw", "--precision", "int8"], "--precision int8 is for --outputs poses"),
        (["--outputs", "raw", "--dataset", "lspet_test"], "--dataset needs poses"),
        (["--boxes", "boxes.json"], "give both"),
        (["--runtime-precision", "bfloat16"], "--runtime-precision bfloat16 needs --backend openvino"),
    ],
)
def test_bad_options_end_in_one_sentence(more, message, command, root, tmp_path, monkeypatch):
    options, overrides = command
    status = run_tool(root, monkeypatch, *more, *options, *overrides)
    assert str(status).startswith("export.py: ")
    assert message in str(status)
    assert [file.name for file in tmp_path.iterdir()] == ["tiny.yaml"]


def test_missing_weights_are_said(command, root, monkeypatch):
    options, _ = command
    assert "MODEL.WEIGHTS" in str(run_tool(root, monkeypatch, *options))
    assert "gone.pth" in str(run_tool(root, monkeypatch, *options, "MODEL.WEIGHTS", "gone.pth"))


def test_images_that_take_the_keys_are_said(command, root, monkeypatch):
    options, overrides = command
    assert "MODEL.WEIGHTS too" in str(run_tool(root, monkeypatch, *options, "--images", "a.jpg", *overrides))


def test_images_of_a_folder_are_read(root):
    found = read_check_images([str(root / "docs" / "images" / "demo.jpg")], None, 5)
    assert len(found) == 1
    height, width = found[0].image.shape[:2]
    assert found[0].boxes.boxes.tolist() == [[0, 0, width, height]]


def test_every_precision_has_a_tolerance():
    from posecore.export.precision import PRECISIONS

    assert set(TOLERANCES) == set(PRECISIONS)
