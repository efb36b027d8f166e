"""tools/analyze.py on a small POET with random weights, and on the records of a training."""

import json
import runpy
import sys
from pathlib import Path

import cv2
import pytest
from helpers.poet_oracle import TINY

from posecore.data.synthetic import make_dataset


@pytest.fixture(scope="module")
def dataset(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Three images of drawn figures."""
    return make_dataset(tmp_path_factory.mktemp("figures"), num_images=3, size=(64, 80))


@pytest.fixture
def analyze(root: Path, dataset: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    """Runs a command as from the command line, in this process; returns the path of its image."""

    def run(
        command: str, *arguments: object, config: str = "configs/poet/R_50.yaml", more: tuple = ()
    ) -> Path:
        image = tmp_path / f"{command}.png"
        line = ["analyze.py", command, *arguments, "--output", image]
        if command != "training":
            line += ["--config-file", root / config, "MODEL.DEVICE", "cpu", "MODEL.WEIGHTS", ""]
            line += ["DATASETS.DEFINITIONS", [str(dataset)], "DATASETS.TEST", ("synthetic_train",)]
            line += ["INPUT.MIN_SIZE_TEST", 64, "DATALOADER.NUM_WORKERS", 0]
            line += [*(TINY if "poet" in config else ()), *more]
        monkeypatch.setattr(sys, "argv", [str(part) for part in line])
        monkeypatch.syspath_prepend(str(root / "tools"))
        runpy.run_path(str(root / "tools/analyze.py"), run_name="__main__")
        return image

    return run


def is_image(file: Path) -> bool:
    image = cv2.imread(str(file))
    return image is not None and image.std() > 1


def test_training(analyze, tmp_path: Path) -> None:
    lines = [
        {"iteration": i, "loss_class": 1 / i, "loss_class_0": 2 / i, "total_loss": 3 / i, "keypoints/AP": i}
        for i in range(1, 20)
    ]
    (tmp_path / "metrics.json").write_text("\n".join(map(json.dumps, lines)))
    assert is_image(analyze("training", tmp_path / "metrics.json"))


def test_keypoints(analyze) -> None:
    layers = ("MODEL.POSEUR.NUM_LAYERS", 1, "INPUT.CROPS.BOXES", "ground_truth")
    poseur = "configs/poseur/R_50_256x192.yaml"
    assert is_image(analyze("keypoints", "--persons", 2, config=poseur, more=layers))
    with pytest.raises(SystemExit, match=r"--keypoint must be one of nose, .*'tail'"):
        analyze("keypoints", "--keypoint", "tail", config=poseur, more=layers)


def test_attention(analyze, dataset: Path) -> None:
    image = sorted(dataset.parent.rglob("*.jpg"))[0]
    file = analyze("attention", "--input", image, "--cells", 10, 60, 70, 20, "--threshold", 0.0)
    assert is_image(file)
    # Two points and six queries, three in a row.
    assert cv2.imread(str(file)).shape[0] > 3 * 64


def test_attention_needs_something_to_show(analyze, dataset: Path) -> None:
    image = sorted(dataset.parent.rglob("*.jpg"))[0]
    for wrong, message in (
        (("--cells", 10), "--cells needs x and y"),
        (("--cells", 10, 200), "must lie in the image, which is 80 x 64"),
        (("--threshold", 1.0), "nobody is found"),
    ):
        with pytest.raises(SystemExit, match=message):
            analyze("attention", "--input", image, *wrong)


def test_centers(analyze, capsys: pytest.CaptureFixture) -> None:
    assert is_image(analyze("centers", "--images", 2))
    assert "persons, median shift (" in capsys.readouterr().out


def test_visibility(analyze, capsys: pytest.CaptureFixture) -> None:
    assert is_image(analyze("visibility"))
    assert "visible" in capsys.readouterr().out


def test_layers(analyze, capsys: pytest.CaptureFixture) -> None:
    assert is_image(analyze("layers"))
    table = capsys.readouterr().out.splitlines()
    assert [line.split()[0] for line in table if line[:5].strip() in ("layer", "1", "2")] == [
        "layer",
        "1",
        "2",
    ]


def test_another_method_is_refused(analyze) -> None:
    with pytest.raises(SystemExit, match=r"about POET, and MODEL.META_ARCHITECTURE is 'FCPose'"):
        analyze("layers", config="configs/fcpose/R_50_1x.yaml")
