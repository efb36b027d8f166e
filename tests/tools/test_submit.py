"""tools/submit.py on a stand-in for COCO's test-dev: three drawn images without annotations."""

import json
import os
import subprocess
import sys
import zipfile
from pathlib import Path

import pytest
from helpers.configs import override_list

from posecore.data.synthetic import make_dataset

CONFIG = "configs/directpose/demo/synthetic.yaml"
SMALL = override_list(
    {
        "MODEL.FCOS.NUM_CONVS": "1",
        "MODEL.WEIGHTS": "random",
        "DATALOADER.NUM_WORKERS": "0",
        "DATASETS.DEFINITIONS": "()",  # the images of the demonstration need not have been drawn
    }
)


@pytest.fixture(scope="module")
def datasets(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder for DETECTRON2_DATASETS."""
    folder = tmp_path_factory.mktemp("datasets")
    make_dataset(folder, num_images=3, size=(64, 64), split="test2017")
    (folder / "coco").mkdir()
    (folder / "test2017").rename(folder / "coco" / "test2017")
    content = json.loads((folder / "annotations" / "test2017.json").read_text())
    categories = [{"id": 1, "name": "person"}, {"id": 2, "name": "bicycle"}]
    (folder / "coco" / "annotations").mkdir()
    (folder / "coco" / "annotations" / "image_info_test-dev2017.json").write_text(
        json.dumps({"images": content["images"], "categories": categories})
    )
    return folder


@pytest.fixture
def submit(root: Path, datasets: Path, tmp_path: Path):
    def run(*arguments: object) -> subprocess.CompletedProcess:
        command = [
            sys.executable,
            "tools/submit.py",
            "--config-file",
            CONFIG,
            "--output",
            tmp_path,
            *arguments,
        ]
        environment = {**os.environ, "DETECTRON2_DATASETS": str(datasets), "OMP_NUM_THREADS": "1"}
        return subprocess.run(
            list(map(str, command)), cwd=root, env=environment, capture_output=True, text=True
        )

    return run


def test_from_a_model(submit, tmp_path: Path, datasets: Path) -> None:
    done = submit("--name", "toy", *SMALL, "MODEL.FCOS.SCORE_THRESH", "0.0", "INPUT.MIN_SIZE_TEST", "64")
    assert done.returncode == 0, done.stderr
    assert "poses in 3 of 3 images" in done.stdout
    with zipfile.ZipFile(tmp_path / "person_keypoints_test-dev2017_toy_results.zip") as file:
        (name,) = file.namelist()
        results = json.loads(file.read(name))
    assert name == "person_keypoints_test-dev2017_toy_results.json"
    info = json.loads((datasets / "coco/annotations/image_info_test-dev2017.json").read_text())
    assert {result["image_id"] for result in results} == {image["id"] for image in info["images"]}
    assert all(len(result["keypoints"]) == 51 for result in results)


@pytest.mark.long
def test_from_results_that_are_wrong(submit, tmp_path: Path) -> None:
    file = tmp_path / "results.json"
    good = {"image_id": 1, "category_id": 1, "keypoints": [1.0] * 51, "score": 0.5}
    file.write_text(json.dumps([good, {**good, "image_id": 99}]))
    done = submit("--results", file)
    assert done.returncode == 1
    assert f"submit.py: {file}: entry 1 has image_id 99" in done.stderr
    missing = submit("--results", tmp_path / "nowhere.json")
    assert "nowhere.json" in missing.stderr
    assert "Traceback" not in done.stderr + missing.stderr
    assert not list(tmp_path.glob("*.zip"))
