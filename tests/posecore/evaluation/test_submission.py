"""What goes to COCO's server, and what must not."""

import json
import math
import zipfile
from pathlib import Path
from typing import Any

import pytest

from posecore.config.merge import UsageError
from posecore.data.formats.coco_wholebody import split_parts
from posecore.evaluation.submission import (
    best_of_each_image,
    check_results,
    read_coco_results,
    write_submission,
)


def pose(**changes: Any) -> dict[str, Any]:
    return {"image_id": 7, "category_id": 1, "keypoints": [1.5, 2, 0.5] * 5, "score": 0.5, **changes}


def check(results: Any) -> None:
    check_results(results, image_ids=[5, 7], num_keypoints=5)


def test_good_results_pass() -> None:
    check([pose(), pose(image_id=5, score=1), pose(score=-0.5)])


@pytest.mark.parametrize(
    ("wrong", "message"),
    [
        (1, "must be a pose, not 1"),
        ({"score": math.nan}, "not a finite number"),
        ({"score": None}, "not a finite number"),
        ({"score": True}, "not a finite number"),
        ({"score": "0.5"}, "not a finite number"),
        ({"keypoints": [math.inf] * 15}, "not a finite number"),
        ({"keypoints": [[1.0, 2.0, 0.5]] * 5}, "needs keypoints of 15 numbers"),
        ({"keypoints": [1.0] * 51}, "needs keypoints of 15 numbers: x, y and confidence of each of 5"),
        ({"image_id": 6}, "has image_id 6, which no image of the dataset has"),
        ({"image_id": "7"}, "has image_id '7'"),
        ({"image_id": 7.0}, "has image_id 7.0"),
        ({"image_id": [7]}, r"has image_id \[7\]"),
        ({"category_id": True}, "has category_id True; persons have 1"),
        ({"category_id": "1"}, "has category_id '1'; persons have 1"),
        ({"score": 10**400}, "not a finite number"),
        ({"category_id": 2}, "has category_id 2; persons have 1"),
    ],
)
def test_wrong_entries_are_named(wrong: Any, message: str) -> None:
    bad = pose(**wrong) if isinstance(wrong, dict) else wrong
    with pytest.raises(ValueError, match=f"entry 1 .*{message}"):
        check([pose(), bad, pose()])


@pytest.mark.parametrize("key", ["image_id", "category_id", "keypoints", "score"])
def test_missing_keys_are_named(key: str) -> None:
    with pytest.raises(ValueError, match=f"entry 0 lacks {key}"):
        check([{name: value for name, value in pose().items() if name != key}])


@pytest.mark.parametrize("results", [[], {}, None, {"annotations": [pose()]}])
def test_results_are_a_list_of_some_poses(results: Any) -> None:
    with pytest.raises(ValueError, match="results are a list of poses"):
        check(results)


def test_of_each_image_the_best_remain() -> None:
    results = [
        pose(score=0.2, bbox=[1, 2, 3, 4]),
        pose(score=0.9),
        pose(image_id=5, score=0.1),
        pose(score=0.4),
    ]
    kept = best_of_each_image(results, limit=2)
    assert [(result["image_id"], result["score"]) for result in kept] == [(7, 0.9), (7, 0.4), (5, 0.1)]
    assert all(result.keys() == pose().keys() for result in kept)
    assert "bbox" in results[0]


def test_the_archive_has_the_servers_names(tmp_path: Path) -> None:
    archive = write_submission([pose()], tmp_path / "new", split="test-dev2017", algorithm="mine")
    assert archive == tmp_path / "new" / "person_keypoints_test-dev2017_mine_results.zip"
    with zipfile.ZipFile(archive) as file:
        assert file.namelist() == ["person_keypoints_test-dev2017_mine_results.json"]
        assert json.loads(file.read(file.namelist()[0])) == [pose()]


def test_results_of_whole_bodies_are_read_as_they_are_written(tmp_path: Path) -> None:
    """The evaluator of COCO-WholeBody writes the parts apart; entries without them are refused as before."""
    whole = pose(keypoints=[float(number) for number in range(133 * 3)])
    file = tmp_path / "results.json"
    file.write_text(json.dumps([whole | split_parts(whole["keypoints"]), whole]))
    read = read_coco_results(file, image_ids=[7], num_keypoints=133)
    assert read == [whole, whole]
    file.write_text(json.dumps([pose(keypoints=[1.0] * 51)]))
    with pytest.raises(UsageError, match="needs keypoints of 399 numbers"):
        read_coco_results(file, image_ids=[7], num_keypoints=133)
