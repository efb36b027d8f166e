"""tools/predict.py where it could destroy or mix up files, and a training whose records are cut."""

import json
import os
import shutil
import subprocess
from collections.abc import Callable
from pathlib import Path

import pytest
import torch
import yaml
from helpers import toy_model  # noqa: F401  (registers ToyPose)
from helpers.dot_dataset import SIZE, dots_cfg
from helpers.processes import run_python
from helpers.small_training import command

from posecore.data.synthetic import make_dataset


@pytest.fixture
def predict(run: Callable, tmp_path: Path):
    """Runs tools/predict.py with a model of crops, or one that needs no boxes."""
    dots_cfg(tmp_path)
    crops = {"FORMAT": "RGB", "SAMPLES": "person_crops", "CROPS": {"SIZE": list(SIZE)}}
    configs = {
        "crops": ({"META_ARCHITECTURE": "DotPose"}, crops, {"unused": torch.zeros(1)}),
        "images": ({"META_ARCHITECTURE": "ToyPose"}, {"MIN_SIZE_TEST": 64}, None),
    }
    for name, (model, inputs, weights) in configs.items():
        skeleton = {"SKELETON": str(tmp_path / "hands.yaml")}
        file = "random"
        if weights is not None:
            file = str(tmp_path / f"{name}.pth")
            torch.save({"model": weights}, file)
        content = {
            "MODEL": {**model, "DEVICE": "cpu", "WEIGHTS": file},
            "INPUT": inputs,
            "DATASETS": skeleton,
        }
        (tmp_path / f"{name}.yaml").write_text(yaml.safe_dump(content))

    def start(config: str, *arguments: object):
        return run("predict", "--config-file", tmp_path / f"{config}.yaml", *arguments)

    return start


def test_boxes_by_the_names_of_images(faults: Path, predict: Callable, tmp_path: Path) -> None:
    folder = faults / "predict_boxes_text_id"
    images = sorted((folder / "images").iterdir())
    out = ["--output", tmp_path / "out"]
    done = predict("crops", "--input", *images, "--boxes", folder / "boxes.json", *out)
    assert done.status == 0, done.said
    records = json.loads((tmp_path / "out" / "poses.json").read_text())
    assert [len(record["people"]) for record in records] == [1, 1]
    assert records[0]["people"][0]["score"] == pytest.approx(0.9)


def test_boxes_of_other_images_are_an_error(faults: Path, predict: Callable, tmp_path: Path) -> None:
    folder = faults / "predict_boxes_text_id"
    shutil.copy(folder / "images" / "000001.jpg", tmp_path / "other.jpg")
    out = ["--output", tmp_path / "out"]
    done = predict("crops", "--input", tmp_path / "other.jpg", "--boxes", folder / "boxes.json", *out)
    assert done.status == 1
    assert "boxes.json" in done.said
    assert not (tmp_path / "out" / "poses.json").exists()


@pytest.mark.parametrize("output", [".", "film.mp4"])
def test_a_film_is_not_drawn_onto_itself(
    faults: Path, predict: Callable, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, output: str
) -> None:
    folder = tmp_path / "films"
    folder.mkdir()
    shutil.copy(faults / "predict_film_onto_itself" / "film.mp4", folder)
    before = (folder / "film.mp4").read_bytes()
    monkeypatch.chdir(folder)
    done = predict("images", "--input", "film.mp4", "--output", output)
    assert done.status == 1
    assert "film.mp4" in done.said
    assert [path.name for path in folder.iterdir()] == ["film.mp4"]
    assert (folder / "film.mp4").read_bytes() == before


def test_a_folder_whose_name_is_a_number_is_a_folder(
    faults: Path, predict: Callable, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(faults / "predict_folder_is_number")
    done = predict("images", "--input", "2024", "--output", tmp_path / "out")
    assert done.status == 0, done.said
    records = json.loads((tmp_path / "out" / "poses.json").read_text())
    assert [Path(record["name"]).name for record in records] == ["000001.jpg"]


@pytest.mark.long
def test_cut_metrics_do_not_cost_the_results(faults: Path, root: Path, tmp_path: Path) -> None:
    """A training is resumed in a folder whose metrics.json ends in half a line."""
    make_dataset(tmp_path, num_images=2, size=(64, 64), people=(1, 1))
    output = tmp_path / "output"

    def train(iterations: int) -> subprocess.CompletedProcess:
        _, *arguments = command(
            tmp_path / "train.yaml",
            output,
            *("DATALOADER.NUM_WORKERS", "0", "SOLVER.WARMUP_ITERS", "1"),
            options=("--resume",),
            iterations=iterations,
        )
        return run_python(arguments, cwd=root, env=os.environ | {"OMP_NUM_THREADS": "1"})

    assert train(1).returncode == 0
    cut = (faults / "resume_cut_metrics" / "metrics.json").read_bytes()
    assert not cut.endswith(b"\n")
    (output / "metrics.json").write_bytes(cut)
    (output / "results.json").unlink()
    done = train(2)
    assert done.returncode == 0, done.stderr
    assert "keypoints/AP" in json.loads((output / "results.json").read_text())
    assert (output / "curves.png").is_file()
