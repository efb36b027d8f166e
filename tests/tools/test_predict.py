"""tools/predict.py with a model that looks at one person at a time."""

import hashlib
import json
import re
import resource
import runpy
import subprocess
import sys

import cv2
import numpy as np
import pytest
import torch
import yaml
from helpers import toy_model  # noqa: F401  (registers the model)
from helpers.dot_dataset import CHIN, LEFT, RIGHT, SIZE, dots_cfg
from PIL import Image

from posecore.checkpoint.exported import export_model
from posecore.models import list_models


@pytest.fixture
def predict(root, tmp_path, monkeypatch):
    """Runs the tool by its path on the image with the dots, or on others; returns poses.json."""
    dots_cfg(tmp_path)
    common = {"INPUT": {"FORMAT": "RGB", "SAMPLES": "person_crops", "CROPS": {"SIZE": list(SIZE)}}}
    skeleton = {"DATASETS": {"SKELETON": str(tmp_path / "hands.yaml")}}
    configs = {
        "crops": {"MODEL": {"META_ARCHITECTURE": "DotPose"}, **skeleton, **common},
        "detector": {"MODEL": {"META_ARCHITECTURE": "OneDetector"}, **skeleton},
        "toy": {"MODEL": {"META_ARCHITECTURE": "ToyPose"}, **skeleton},
    }
    for name, config in configs.items():
        (tmp_path / f"{name}.yaml").write_text(yaml.safe_dump(config))
    torch.save({"model": {"unused": torch.zeros(1)}}, tmp_path / "crops.pth")
    torch.save({"model": {"score": torch.tensor([0.75])}}, tmp_path / "detector.pth")
    regress = {"regress.weight": torch.zeros(6, 12), "regress.bias": torch.zeros(6)}
    torch.save({"model": regress}, tmp_path / "toy.pth")

    def predict(*arguments, images=("1.png",), config="crops", weights=None, output=None, settings=()):
        """With ``config`` None there is no --config-file, and MODEL.WEIGHTS only if ``weights`` is given."""
        command = ["--input", *(tmp_path / image for image in images), *arguments]
        command += ["--output", output or tmp_path / "out"]
        if config:
            command += ["--config-file", tmp_path / f"{config}.yaml"]
            weights = tmp_path / f"{config}.pth"
        command += ["MODEL.DEVICE", "cpu", *(["MODEL.WEIGHTS", weights] if weights else []), *settings]
        monkeypatch.setattr(sys, "argv", ["predict.py", *map(str, command)])
        with pytest.raises(SystemExit) as end:
            runpy.run_path(str(root / "tools" / "predict.py"), run_name="__main__")
        if end.value.code is not None:
            raise end.value
        return json.loads((tmp_path / "out" / "poses.json").read_text())

    return predict


def check_dots(person):
    expected = dict(zip(("left", "right", "chin"), (LEFT, RIGHT, CHIN), strict=True))
    for name, (x, y) in expected.items():
        assert person["keypoints"][name] == pytest.approx([x + 0.5, y + 0.5, 1], abs=0.15)


def detector(folder):
    return ["--detector-config", folder / "detector.yaml", "--detector-weights", folder / "detector.pth"]


def test_boxes_of_a_detector(predict, tmp_path):
    first, second = predict(*detector(tmp_path), images=("1.png", "2.png"))
    (person,) = first["people"]
    assert person["score"] == 0.75
    check_dots(person)
    assert second["people"] == []


def test_boxes_of_a_file(predict, tmp_path):
    found = [{"image_id": 1, "bbox": [45, 25, 60, 55], "score": 0.5, "category_id": 1}]
    (tmp_path / "found.json").write_text(json.dumps(found))
    first, second = predict("--boxes", tmp_path / "found.json", images=("1.png", "2.png"))
    check_dots(first["people"][0])
    assert second["people"] == []


def test_boxes_of_an_earlier_prediction(predict, tmp_path):
    predict(*detector(tmp_path), images=("1.png", "2.png"))
    (tmp_path / "out" / "poses.json").rename(tmp_path / "poses.json")
    first, second = predict("--boxes", tmp_path / "poses.json", images=("1.png", "2.png"))
    check_dots(first["people"][0])
    assert second["people"] == []


def test_names_that_the_file_does_not_know(predict, tmp_path):
    (tmp_path / "1.png").rename(tmp_path / "dots.png")
    (tmp_path / "found.json").write_text("[]")
    with pytest.raises(SystemExit, match=r"predict\.py: --boxes: .*found\.json has nothing of image dots"):
        predict("--boxes", tmp_path / "found.json", images=("dots.png",))


def test_what_does_not_go_together(predict, tmp_path, capsys):
    with pytest.raises(SystemExit, match="one person at a time: give --boxes, or --detector-config"):
        predict()
    with pytest.raises(SystemExit, match="takes no boxes"):
        predict("--boxes", "found.json", config="detector")
    with pytest.raises(SystemExit):
        predict("--detector-config", tmp_path / "detector.yaml")
    assert "go together" in capsys.readouterr().err
    with pytest.raises(SystemExit, match=r"gone\.json does not exist"):
        predict("--boxes", "gone.json")


def test_a_broken_image_is_reported_and_the_others_follow(predict, tmp_path, capsys):
    (tmp_path / "0.png").write_bytes(b"no image")
    with pytest.raises(SystemExit) as end:
        predict(*detector(tmp_path), images=("0.png", "1.png", "2.png"))
    assert end.value.code == 1
    output = capsys.readouterr()
    assert "1 people in 2 images" in output.out
    assert re.search(r"predict\.py: 1 failed:\n  image .*0\.png cannot be read", output.err)
    poses = json.loads((tmp_path / "out" / "poses.json").read_text())
    assert [record["name"] for record in poses] == ["1.png", "2.png"]
    # A run that fails wholly leaves the file as it is.
    with pytest.raises(SystemExit):
        predict(*detector(tmp_path), images=("0.png",))
    assert json.loads((tmp_path / "out" / "poses.json").read_text()) == poses


def test_equal_names_get_their_own_drawings_and_boxes(predict, tmp_path):
    for name in ("a", "b"):
        (tmp_path / name).mkdir()
    (tmp_path / "2.png").rename(tmp_path / "a" / "1.png")
    (tmp_path / "1.png").rename(tmp_path / "b" / "1.png")
    images = ("a/1.png", "b/1.png")
    first, second = predict(*detector(tmp_path), images=images)
    assert (first["name"], second["name"]) == images
    assert [len(record["people"]) for record in (first, second)] == [0, 1]
    assert {str(file.relative_to(tmp_path / "out")) for file in (tmp_path / "out").rglob("*.png")} == {
        *images
    }
    (tmp_path / "out" / "poses.json").rename(tmp_path / "boxes.json")
    assert predict("--boxes", tmp_path / "boxes.json", images=images)[1]["people"]


def test_inputs_are_not_overwritten(predict, tmp_path):
    before = (tmp_path / "1.png").read_bytes()
    with pytest.raises(SystemExit, match="would overwrite an input"):
        predict(*detector(tmp_path), output=tmp_path)
    assert (tmp_path / "1.png").read_bytes() == before
    assert not (tmp_path / "poses.json").exists()


def test_drawings_in_the_input_folder_are_not_read_again(predict, tmp_path):
    for _ in range(2):
        records = predict(*detector(tmp_path), images=(".",))
        assert [record["name"] for record in records] == ["1.png", "2.png"]


def test_nothing_found_is_said(predict, tmp_path, capsys):
    (record,) = predict(*detector(tmp_path), images=("2.png",))
    assert record["people"] == []
    assert "nothing was found" in capsys.readouterr().out


def test_an_image_too_thin_for_the_detector_is_named(predict, tmp_path, capsys):
    Image.new("RGB", (3000, 1)).save(tmp_path / "thin.png")
    with pytest.raises(SystemExit):
        predict(*detector(tmp_path), images=("thin.png", "1.png"))
    assert re.search(
        r"image thin\.png: it is 3000 wide and 1 high, .*1333 wide and 0 high", capsys.readouterr().err
    )


def test_an_interrupted_camera_ends_as_usual(predict, tmp_path, monkeypatch):
    class Camera:
        def __init__(self, address):
            self.images = 0

        def isOpened(self):  # noqa: N802  (OpenCV's name)
            return True

        def get(self, key):
            return 10.0

        def read(self):
            self.images += 1
            if self.images == 3:
                raise KeyboardInterrupt
            return True, np.zeros((48, 64, 3), np.uint8)

        def release(self):
            pass

    monkeypatch.setattr(cv2, "VideoCapture", Camera)
    monkeypatch.chdir(tmp_path)
    records = predict(*detector(tmp_path), "--input", "0")
    assert [(record["name"], record["number"]) for record in records] == [("camera0", 0), ("camera0", 1)]


def film(file, length=4):
    """A film of the image with the dots, beside it."""
    image = cv2.imread(str(file.parent / "1.png"))
    writer = cv2.VideoWriter(str(file), cv2.VideoWriter.fourcc(*"MJPG"), 25, image.shape[1::-1])
    for _ in range(length):
        writer.write(image)
    writer.release()


def test_a_film_with_ids_smoothed_keypoints_and_openpose(predict, tmp_path):
    film(tmp_path / "a.avi")
    options = ("--smooth", "--smooth-beta", "2", "--batch-size", "3", "--format", "coco")
    records = predict(*options, images=("a.avi",), config="toy")
    assert [record["number"] for record in records] == [0, 1, 2, 3]
    assert [record["time"] for record in records] == pytest.approx([0, 0.04, 0.08, 0.12])
    assert [person["id"] for record in records for person in record["people"]] == [None, 1, 1, 1]
    assert set(records[1]["people"][0]["smoothed"]) == {"left", "right", "chin"}
    results = json.loads((tmp_path / "out" / "coco_results.json").read_text())
    assert [result["image_id"] for result in results] == [0, 1, 2, 3]
    # The same, one by one.
    alone = predict("--smooth", "--smooth-beta", "2", images=("a.avi",), config="toy")
    assert alone == records


def test_half_precision(predict, tmp_path):
    film(tmp_path / "a.avi", 2)
    (first, _), (half, _) = (
        predict(images=("a.avi",), config="toy", settings=("TEST.PRECISION", precision))
        for precision in ("float32", "bfloat16")
    )
    for name, point in first["people"][0]["keypoints"].items():
        assert half["people"][0]["keypoints"][name] == pytest.approx(point, abs=2)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (("--track",), r"--track and --smooth need videos.*1\.png is an image without"),
        (("--format", "openpose"), r"needs the keypoints of coco_17; the skeleton hands lacks"),
        (("--track", "--track-hits", "0"), r"must be 1 or more, not 0"),
        (("--smooth", "--smooth-cutoff", "0"), r"min_cutoff of the smoothing must be above 0"),
        (("--format", "coco", "--image-ids", "gone.json"), r"gone\.json"),
    ],
)
def test_options_that_do_not_fit(predict, tmp_path, options, message):
    with pytest.raises(SystemExit, match=message):
        predict(*options, config="toy")
    assert not (tmp_path / "out").exists()


def test_recovery_of_a_killed_prediction(predict, tmp_path, capsys):
    out = tmp_path / "out"
    out.mkdir()
    (out / "poses.json.part").write_text('[\n{"name": "a.png", "people": []},\n{"name": "b.p')
    for expected in (f"{out / 'poses.partial.json'}\n", f"there is nothing to recover in {out}\n"):
        with pytest.raises(FileNotFoundError, match=r"poses\.json"):
            predict("--recover", config=None)
        assert capsys.readouterr().out == expected
    assert json.loads((out / "poses.partial.json").read_text()) == [{"name": "a.png", "people": []}]


def export(folder, name):
    """Exports one of the models of the fixture ``predict``."""
    file = folder / f"{name}.safetensors"
    export_model(str(folder / f"{name}.pth"), file, folder / f"{name}.yaml", half=True)
    return file


@pytest.fixture
def shipped(tmp_path, monkeypatch):
    """A folder of models that has none yet; a function adds one of those of the fixture ``predict``."""
    folder = tmp_path / "models"
    folder.mkdir()
    monkeypatch.setenv("POSECORE_MODELS", str(folder))

    def add(name, **changes):
        file = export(tmp_path, name).rename(folder / f"{name}.safetensors")
        card = {"name": name, "file": file.name, "sha256": hashlib.sha256(file.read_bytes()).hexdigest()}
        texts = ("method", "skeleton", "data", "data_license", "license", "command")
        card |= dict.fromkeys(texts, "made up") | {"finds_people": True, "figures": {"AP": 1}, "limits": []}
        (folder / f"{name}.yaml").write_text(yaml.safe_dump(card | changes))

    return add


def test_without_a_model_the_default_one_is_taken_and_named(predict, shipped, capsys):
    shipped("toy", default=True, method="ToyPose", data="black dots", data_license="CC0")
    (record,) = predict(config=None)
    assert list(record["people"][0]["keypoints"]) == ["left", "right", "chin"]
    output = capsys.readouterr().out
    assert "no model is named: taking toy (ToyPose, trained on black dots; license of the data: CC0" in output
    assert "1 people in 1 images" in output


def test_shipped_models_by_name(predict, shipped, tmp_path, capsys):
    shipped("crops", finds_people=False)
    shipped("detector")
    # Neither configuration is needed, nor the training's files.
    for file in ("crops.yaml", "crops.pth", "detector.yaml", "detector.pth", "hands.yaml"):
        (tmp_path / file).unlink()
    (record,) = predict(
        "--detector-weights", "model://detector", config=None, weights="model://crops", images=("1.png",)
    )
    check_dots(record["people"][0])
    assert "no model is named" not in capsys.readouterr().out
    with pytest.raises(SystemExit, match=r"model://dog: no model is called 'dog': there are crops, detector"):
        predict(config=None, weights="model://dog")


def test_an_exported_model_needs_no_configuration(predict, tmp_path):
    (record,) = predict(config=None, weights=export(tmp_path, "toy"))
    assert len(record["people"]) == 1
    with pytest.raises(SystemExit, match=r"toy\.pth has no configuration in it: give --config-file"):
        predict(config=None, weights=tmp_path / "toy.pth")


def test_without_any_model_the_error_says_what_to_give(predict, shipped):
    with pytest.raises(
        SystemExit, match=r"no model is named, and none comes .*: give --config-file and MODEL"
    ):
        predict(config=None)


def test_a_damaged_model_is_not_used(predict, shipped, tmp_path):
    shipped("detector", default=True, sha256="0" * 64)
    with pytest.raises(SystemExit, match=r"model detector: .* is damaged: its SHA-256 is"):
        predict(config=None)


@pytest.mark.long
def test_poses_of_an_image_within_a_minute(root, tmp_path, monkeypatch):
    """The third command of the README, from a fresh process, with the model that comes with the project."""
    monkeypatch.delenv("POSECORE_MODELS", raising=False)
    if not any(card.default for card in list_models()):
        pytest.skip("no default model in models/ yet")
    photo = tmp_path / "photo.png"
    Image.fromarray(np.random.default_rng(0).integers(0, 256, (480, 640, 3), np.uint8)).save(photo)
    command = [sys.executable, "tools/predict.py", "--input", photo, "--output", tmp_path / "out"]
    before = resource.getrusage(resource.RUSAGE_CHILDREN)
    done = subprocess.run(command, cwd=root, capture_output=True, text=True, timeout=600)
    after = resource.getrusage(resource.RUSAGE_CHILDREN)
    assert done.returncode == 0, done.stderr
    assert done.stdout.startswith("no model is named: taking ")
    # Of the processor, because other processes of a busy machine take time as well.
    assert after.ru_utime - before.ru_utime < 60
    (record,) = json.loads((tmp_path / "out" / "poses.json").read_text())
    assert record["name"] == "photo.png"
    assert (tmp_path / "out" / "photo.png").is_file()
