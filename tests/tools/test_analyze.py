"""tools/analyze.py from its command line, on small models with random weights and records of a training."""

import json
import runpy
import sys
from pathlib import Path

import cv2
import numpy as np
import pytest
from helpers.poet_oracle import SMALL
from helpers.report_data import make_figures, make_results

from posecore.data.synthetic import make_dataset
from posecore.data.synthetic.motion import Walks, make_film
from posecore.structures.skeleton import load_skeleton


@pytest.fixture(scope="module")
def dataset(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Three images of drawn figures."""
    return make_dataset(tmp_path_factory.mktemp("figures"), num_images=3, size=(64, 80))


@pytest.fixture
def run(root: Path, monkeypatch: pytest.MonkeyPatch):
    """Starts the tool by its path, in this process; fails with its message if it fails."""

    def start(*arguments: object) -> None:
        monkeypatch.setattr(sys, "argv", ["analyze.py", *map(str, arguments)])
        with pytest.raises(SystemExit) as end:
            runpy.run_path(str(root / "tools/analyze.py"), run_name="__main__")
        if end.value.code is not None:
            raise end.value

    return start


@pytest.fixture
def analyze(run, root: Path, dataset: Path, tmp_path: Path):
    """Runs a command on a model; returns the path of its image."""

    def start(
        command: str, *arguments: object, config: str = "configs/poet/R_50.yaml", more: tuple = ()
    ) -> Path:
        image = tmp_path / f"{command}.png"
        overrides = {
            "MODEL.DEVICE": "cpu",
            "MODEL.WEIGHTS": "random",
            "DATASETS.DEFINITIONS": [str(dataset)],
            "DATASETS.TEST": ("synthetic_train",),
            "INPUT.MIN_SIZE_TEST": 64,
            "DATALOADER.NUM_WORKERS": 0,
        }
        pairs = [item for pair in overrides.items() for item in pair]
        model = ["--output", image, "--config-file", root / config, *pairs]
        run(command, *arguments, *model, *(SMALL if "poet" in config else ()), *more)
        return image

    return start


def test_tracking_prints_its_measures(run, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """The ground truth of a drawn film as its own prediction."""
    skeleton = load_skeleton("coco_17")
    film = make_film(tmp_path, num_frames=3, size=(48, 64), walks=Walks(people=2))
    content = json.loads(film.read_text())
    records = []
    for image in content["images"]:
        people = [person for person in content["annotations"] if person["image_id"] == image["id"]]
        points = [np.add(np.reshape(person["keypoints"], (-1, 3)), [0.5, 0.5, 0]) for person in people]
        found = [
            {"id": person["track_id"], "keypoints": dict(zip(skeleton.keypoints, own.tolist(), strict=True))}
            for person, own in zip(people, points, strict=True)
        ]
        records.append({"name": "film.mp4", "number": image["frame_id"], "people": found})
    (tmp_path / "poses.json").write_text(json.dumps(records))
    run("tracking", film, tmp_path / "poses.json")
    assert "0 missed, 0 false positives, 0 switches, 0 fragments, MOTA 100.0 %" in capsys.readouterr().out
    with pytest.raises(SystemExit, match=r"gone\.json"):
        run("tracking", tmp_path / "gone.json", tmp_path / "poses.json")


def is_image(file: Path) -> bool:
    image = cv2.imread(str(file))
    return image is not None and image.std() > 1


def test_training(run, tmp_path: Path) -> None:
    lines = [
        {"iteration": i, "loss_class": 1 / i, "loss_class_0": 2 / i, "total_loss": 3 / i, "keypoints/AP": i}
        for i in range(1, 20)
    ]
    (tmp_path / "metrics.json").write_text("\n".join(map(json.dumps, lines)))
    run("training", tmp_path / "metrics.json", "--output", tmp_path / "curves.png")
    assert is_image(tmp_path / "curves.png")


def test_errors(run, tmp_path: Path, capsys: pytest.CaptureFixture) -> None:
    definition = make_dataset(tmp_path, num_images=2, size=(96, 128), objects=0, cut=0)
    people = json.loads((tmp_path / "annotations" / "train.json").read_text())["annotations"]
    keys = ("image_id", "category_id", "keypoints")
    results = [{key: person[key] for key in keys} | {"score": 0.9} for person in people]
    (tmp_path / "results.json").write_text(json.dumps(results))
    run("errors", definition, tmp_path / "results.json")
    assert "AP is 100.0" in capsys.readouterr().out


def test_report(run, tmp_path: Path, capsys: pytest.CaptureFixture) -> None:
    """A page and its figures of two runs; what is wrong ends in one line and leaves no page."""
    definition = make_figures(tmp_path, num_images=3, size=(64, 80))
    ours = make_results(definition, tmp_path / "ours" / "coco_instances_results.json")
    make_results(definition, tmp_path / "theirs" / "coco_instances_results.json", seed=1)
    page = tmp_path / "pages" / "report.html"
    arguments = ["--dataset", definition, "--bootstrap", 5, "--gallery", 4]
    run("report", ours, "--against", tmp_path / "theirs", "--output", page, *arguments)
    assert str(page) in capsys.readouterr().out
    figures = json.loads(page.with_suffix(".json").read_text())
    assert figures["run"]["name"] == "ours"
    assert figures["against"]["name"] == "theirs"
    with pytest.raises(SystemExit, match=r"must end in one of \.html"):
        run("report", ours, "--output", tmp_path / "report.png", *arguments)
    with pytest.raises(SystemExit, match="which is read: give the page another name"):
        run("report", ours, "--output", ours.with_suffix(".html"), *arguments)
    ours.write_text("[1]")
    with pytest.raises(SystemExit, match="entry 0 must be a pose, not 1"):
        run("report", ours, "--output", tmp_path / "new.html", *arguments)
    assert not (tmp_path / "new.html").exists()


def test_keypoints(analyze) -> None:
    layers = ("MODEL.POSEUR.NUM_LAYERS", 1, "INPUT.CROPS.BOXES", "ground_truth")
    poseur = "configs/poseur/R_50_256x192.yaml"
    assert is_image(analyze("keypoints", "--persons", 2, config=poseur, more=layers))
    with pytest.raises(SystemExit, match=r"--keypoint must be one of nose, .*'tail'"):
        analyze("keypoints", "--keypoint", "tail", config=poseur, more=layers)


def test_attention(analyze, dataset: Path) -> None:
    image = sorted(dataset.parent.rglob("*.jpg"))[0]
    assert is_image(analyze("attention", "--input", image, "--cells", 10, 60, 70, 20, "--threshold", 0.0))
    with pytest.raises(SystemExit, match="--cells needs x and y"):
        analyze("attention", "--input", image, "--cells", 10)


def test_centers(analyze, capsys: pytest.CaptureFixture) -> None:
    assert is_image(analyze("centers", "--images", 2))
    assert "persons, median shift (" in capsys.readouterr().out


def test_visibility(analyze, capsys: pytest.CaptureFixture) -> None:
    assert is_image(analyze("visibility"))
    assert "visible" in capsys.readouterr().out


def test_layers(analyze, capsys: pytest.CaptureFixture) -> None:
    assert is_image(analyze("layers"))
    table = capsys.readouterr().out.splitlines()
    first = [line.split()[0] for line in table if line[:5].strip() in ("layer", "1", "2")]
    assert first == ["layer", "1", "2"]


def test_another_method_is_refused(analyze) -> None:
    with pytest.raises(SystemExit, match=r"about POET, and MODEL.META_ARCHITECTURE is 'FCPose'"):
        analyze("layers", config="configs/fcpose/R_50_1x.yaml")
