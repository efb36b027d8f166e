"""Exported ONNX models find poses in files and videos as PyTorch models do."""

import importlib.util
import json
import runpy
import sys
from pathlib import Path

import cv2
import numpy as np
import pytest

pytest.importorskip("onnx", reason="exported models need requirements/export.txt")
pytest.importorskip("onnxruntime", reason="exported models need requirements/export.txt")

from helpers.bright_models import SKELETON, write_crop_model, write_image_model

from posecore.config.merge import UsageError
from posecore.inference.exported_predictor import ExportedPredictor, RuntimeSettings, described_skeleton
from posecore.inference.predict import (
    DetectorFiles,
    PredictionSettings,
    PredictionSummary,
    build_predictor,
    predict_sources,
)
from posecore.inference.smoothing import SmoothingSettings
from posecore.inference.tracking import TrackingSettings


def image_at(x: int, y: int, size: tuple[int, int] = (40, 60)) -> np.ndarray:
    """A dark image with one bright pixel."""
    image = np.zeros((*size, 3), np.uint8)
    image[y, x] = 255
    return image


@pytest.fixture
def photos(tmp_path: Path) -> Path:
    """Images of two sizes, of which one shows nobody, and one file that is no image."""
    folder = tmp_path / "photos"
    folder.mkdir()
    for name, image in {
        "0": image_at(30, 20),
        "1": image_at(33, 21),
        "2": image_at(20, 10, (33, 47)),
        "3": np.zeros((33, 47, 3), np.uint8),
    }.items():
        cv2.imwrite(str(folder / f"{name}.png"), image)
    (folder / "4.png").write_bytes(b"no image")
    return folder


def predict(
    predictor: ExportedPredictor, source: Path, out: Path, **settings: object
) -> tuple[PredictionSummary, list[dict]]:
    summary = predict_sources(predictor, [str(source)], out, settings=PredictionSettings(**settings))
    return summary, json.loads((out / "poses.json").read_text())


def test_images_are_predicted_alone_and_in_batches(tmp_path: Path, photos: Path) -> None:
    model = write_image_model(tmp_path / "bright.onnx")
    predictor = build_predictor(None, ["MODEL.WEIGHTS", str(model)], runtime=RuntimeSettings(threads=1))
    summary, records = predict(predictor, photos, tmp_path / "alone")
    assert (summary.num_images, summary.num_people) == (4, 3)
    assert len(summary.failures) == 1
    assert "4.png" in summary.failures[0]
    (person,) = records[0]["people"]
    assert person["keypoints"] == {"top": [30.5, 20.5, 1.0], "left_end": [30.5, 24.5, 1.0]}
    assert person["box"] == [24.5, 14.5, 36.5, 26.5]
    assert [len(record["people"]) for record in records] == [1, 1, 1, 0]
    for size in (2, 8):
        assert predict(predictor, photos, tmp_path / str(size), batch_size=size)[1] == records


def test_a_film_is_tracked_and_smoothed(tmp_path: Path) -> None:
    film = cv2.VideoWriter(str(tmp_path / "a.avi"), cv2.VideoWriter.fourcc(*"FFV1"), 25, (60, 40))
    for number in range(6):
        film.write(image_at(20 + number, 15))
    film.release()
    predictor = build_predictor(None, ["MODEL.WEIGHTS", str(write_image_model(tmp_path / "bright.onnx"))])
    settings = {"tracking": TrackingSettings(), "smoothing": SmoothingSettings(), "output_format": "coco"}
    _, records = predict(predictor, tmp_path / "a.avi", tmp_path / "out", **settings)
    assert [record["people"][0]["id"] for record in records] == [None, 1, 1, 1, 1, 1]
    assert "smoothed" in records[-1]["people"][0]
    results = json.loads((tmp_path / "out" / "coco_results.json").read_text())
    assert [result["image_id"] for result in results] == [0, 1, 2, 3, 4, 5]


def test_a_model_of_crops_with_an_exported_detector(tmp_path: Path, photos: Path) -> None:
    weights = ["MODEL.WEIGHTS", str(write_crop_model(tmp_path / "crop.onnx"))]
    detector = DetectorFiles(None, str(write_image_model(tmp_path / "bright.onnx")))
    predictor = build_predictor(None, weights, detector=detector)
    summary, records = predict(predictor, photos, tmp_path / "out")
    assert (summary.num_images, summary.num_people) == (4, 3)
    x, y, _ = records[0]["people"][0]["keypoints"]["top"]
    assert (x, y) == pytest.approx((30.5, 20.5), abs=1)
    with pytest.raises(UsageError, match="looks at one person at a time: give --boxes"):
        build_predictor(None, weights)
    with pytest.raises(UsageError, match=r"crop\.onnx: a detector must find persons in whole images"):
        build_predictor(None, weights, detector=DetectorFiles(None, weights[1]))
    with pytest.raises(UsageError, match="takes no boxes and no detector"):
        build_predictor(None, ["MODEL.WEIGHTS", detector.weights], boxes_given=True)


def test_what_does_not_go_with_an_exported_model_is_said(tmp_path: Path) -> None:
    model = str(write_image_model(tmp_path / "bright.onnx"))
    weights = ["MODEL.WEIGHTS", model]
    with pytest.raises(UsageError, match=r"--config-file must be left out: .*bright\.onnx has its settings"):
        build_predictor("configs/some.yaml", weights)
    with pytest.raises(UsageError, match=r"TEST\.DETECTIONS_PER_IMAGE cannot be changed in the exported"):
        build_predictor(None, [*weights, "TEST.DETECTIONS_PER_IMAGE", "3"])
    with pytest.raises(UsageError, match=r"MODEL\.DEVICE must be cpu for the exported model"):
        build_predictor(None, [*weights, "MODEL.DEVICE", "meta"])
    with pytest.raises(ValueError, match=r"TEST\.PRECISION must be one of 'float32', .*, not 'int8'"):
        build_predictor(None, [*weights, "TEST.PRECISION", "int8"])
    with pytest.raises(ValueError, match="ONNX Runtime computes a model as the file has it"):
        build_predictor(None, [*weights, "TEST.PRECISION", "bfloat16"])
    with pytest.raises(UsageError, match="--backend and --threads are for exported ONNX models"):
        build_predictor(None, ["MODEL.WEIGHTS", "model.pth"], runtime=RuntimeSettings())
    with pytest.raises(FileNotFoundError, match=r"no\.onnx is missing"):
        build_predictor(None, ["MODEL.WEIGHTS", str(tmp_path / "no.onnx")])


def test_images_that_a_runtime_cannot_compute_are_reported(tmp_path: Path, photos: Path) -> None:
    model = write_image_model(tmp_path / "bright.onnx")
    predictor = build_predictor(None, ["MODEL.WEIGHTS", str(model)])
    predictor.exported.session.names = ["nothing"]
    summary = predict_sources(predictor, [str(photos)], tmp_path / "out")
    assert summary.num_images == 0
    assert len(summary.failures) == 5
    assert "image 0.png: ONNX Runtime cannot compute images of (1, 3, 40, 64)" in summary.failures[0]


def test_the_tool_runs_an_exported_model(
    tmp_path: Path, photos: Path, root: Path, monkeypatch, capsys
) -> None:
    model = write_image_model(tmp_path / "bright.onnx")
    arguments = ["predict.py", "--input", photos / "0.png", "--output", tmp_path / "out", "--threads", 1]
    if importlib.util.find_spec("openvino") is not None:
        arguments += ["--backend", "openvino"]
    monkeypatch.setattr(sys, "argv", [*map(str, arguments), "MODEL.WEIGHTS", str(model)])
    with pytest.raises(SystemExit) as end:
        runpy.run_path(str(root / "tools" / "predict.py"), run_name="__main__")
    assert end.value.code is None
    assert "1 people in 1 images" in capsys.readouterr().out
    (record,) = json.loads((tmp_path / "out" / "poses.json").read_text())
    assert record["people"][0]["keypoints"]["top"] == pytest.approx([30.5, 20.5, 1], abs=0.01)


def test_the_skeleton_of_a_description_is_checked() -> None:
    assert described_skeleton(SKELETON).keypoints == ("top", "left_end")
    with pytest.raises(ValueError, match="limbs names unknown keypoints"):
        described_skeleton(SKELETON | {"limbs": [["top", "tail"]]})
