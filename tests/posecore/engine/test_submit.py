"""Submissions from results that are there already, for drawn figures in place of COCO's val2017."""

import json
import zipfile
from pathlib import Path

import pytest

from posecore.checkpoint.weights import CheckpointError
from posecore.config.merge import UsageError
from posecore.config.repository import CONFIGS
from posecore.data import dataset_metadata, resolve_dataset
from posecore.data.synthetic import make_dataset
from posecore.engine.submit import SPLITS, make_submission

CONFIG = CONFIGS / "directpose/demo/synthetic.yaml"
POSE = {"category_id": 1, "keypoints": [1.0] * 51, "score": 0.5}


@pytest.fixture
def image_ids(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """Ids of the images of drawn figures, which stand for the split."""
    name = resolve_dataset(str(make_dataset(tmp_path, num_images=3, size=(64, 64))))
    monkeypatch.setitem(SPLITS, "val2017", name)
    content = json.loads(Path(dataset_metadata(name).json_file).read_text())
    return [image["id"] for image in content["images"]]


def submit(folder: Path, results: list[dict]):
    (folder / "results.json").write_text(json.dumps(results))
    return make_submission(
        CONFIG,
        [],
        output=folder / "out",
        algorithm="toy",
        split="val2017",
        results_file=folder / "results.json",
    )


def test_poses_are_counted_and_packed(tmp_path: Path, image_ids: list[int]) -> None:
    results = [POSE | {"image_id": image_id} for image_id in (image_ids[0], image_ids[0], image_ids[2])]
    made = submit(tmp_path, results)
    assert (made.num_poses, made.num_images, made.num_dataset_images) == (3, 2, 3)
    assert made.archive.name == "person_keypoints_val2017_toy_results.zip"
    with zipfile.ZipFile(made.archive) as file:
        assert len(json.loads(file.read(file.namelist()[0]))) == 3


def test_a_wrong_entry_leaves_no_archive(tmp_path: Path, image_ids: list[int]) -> None:
    with pytest.raises(UsageError, match=r"results\.json: entry 1 has image_id 99"):
        submit(tmp_path, [POSE | {"image_id": image_ids[0]}, POSE | {"image_id": 99}])
    assert not (tmp_path / "out").exists()


class Evaluation:
    """Stands for the evaluation in a process of its own: may write results, and returns an exit status."""

    def __init__(self, status: int, results: list[dict] | None) -> None:
        self.status = status
        self.results = results

    def __call__(self, command: list[str]) -> int:
        folder = Path(command[-1])
        if self.results is not None:
            results_file(folder).parent.mkdir(parents=True, exist_ok=True)
            results_file(folder).write_text(json.dumps(self.results))
        return self.status


def results_file(folder: Path) -> Path:
    return folder / "inference" / "synthetic_train" / "coco_instances_results.json"


def evaluate_and_submit(folder: Path, *overrides: str):
    return make_submission(
        CONFIG, overrides or ["MODEL.WEIGHTS", "random"], output=folder, algorithm="toy", split="val2017"
    )


@pytest.mark.parametrize("status", [0, 1])
def test_results_of_an_earlier_run_are_not_packed(
    tmp_path: Path, image_ids: list[int], monkeypatch: pytest.MonkeyPatch, status: int
) -> None:
    earlier = [POSE | {"image_id": image_ids[0]}]
    monkeypatch.setattr("posecore.engine.submit.run_command", Evaluation(0, earlier))
    evaluate_and_submit(tmp_path).archive.unlink()
    monkeypatch.setattr("posecore.engine.submit.run_command", Evaluation(status, None))
    with pytest.raises(UsageError, match=r"evaluation failed|has not written .*coco_instances_results\.json"):
        evaluate_and_submit(tmp_path)
    assert not list(tmp_path.glob("*.zip"))
    assert json.loads(results_file(tmp_path).read_text()) == earlier  # nothing is lost
    monkeypatch.setattr("posecore.engine.submit.run_command", Evaluation(0, earlier * 2))
    assert evaluate_and_submit(tmp_path).num_poses == 2


def test_a_model_without_weights_is_refused(tmp_path: Path, image_ids: list[int]) -> None:
    with pytest.raises(CheckpointError, match=r"MODEL\.WEIGHTS is empty.*`MODEL\.WEIGHTS random`"):
        evaluate_and_submit(tmp_path, "MODEL.WEIGHTS", "")
