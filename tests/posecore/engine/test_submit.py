"""Submissions from results that are there already, for drawn figures in place of COCO's val2017."""

import json
import zipfile
from pathlib import Path

import pytest

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
