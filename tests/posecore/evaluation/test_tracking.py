"""Measures of tracking: cases counted by hand, and motmetrics as the oracle where it is installed."""

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from posecore.evaluation.track_files import evaluate_track_files
from posecore.evaluation.tracking import TrackedFrame, evaluate_tracks, tracked_frame
from posecore.structures.skeleton import load_skeleton

COCO = load_skeleton("coco_17")


def frame(gt_ids: list[int], ids: list[int], similarities: list[list[float]]) -> TrackedFrame:
    table = np.array(similarities, dtype=float).reshape(len(gt_ids), len(ids))
    return TrackedFrame(np.array(gt_ids, dtype=int), np.array(ids, dtype=int), table)


def one(identity: int | None, similarity: float = 0.9) -> TrackedFrame:
    """An image of person 1, followed as an identity or not."""
    return frame([1], [] if identity is None else [identity], [[similarity]] if identity else [])


def test_one_person_followed_throughout() -> None:
    metrics = evaluate_tracks([one(7, 1.0)] * 5)
    assert (metrics.persons, metrics.misses, metrics.switches, metrics.fragments) == (5, 0, 0, 0)
    assert metrics.mota == metrics.idf1 == metrics.hota == 1


def test_a_switch_behind_a_gap() -> None:
    metrics = evaluate_tracks([one(7), one(7), one(None), one(8), one(8, 0.4)])
    assert (metrics.misses, metrics.false_positives) == (2, 1)
    assert (metrics.switches, metrics.fragments) == (1, 1)
    assert metrics.mota == pytest.approx(1 - 4 / 5)
    assert metrics.idf1 == pytest.approx(2 * 2 / (5 + 4))


def test_a_match_is_kept_while_it_is_good_enough() -> None:
    """Identity 7 stays the match although 8 has become more similar, and no longer once it is below 0.5."""
    frames = [
        frame([1], [7, 8], [[0.9, 0.1]]),
        frame([1], [7, 8], [[0.6, 0.9]]),
        frame([1], [7, 8], [[0.4, 0.9]]),
    ]
    assert evaluate_tracks(frames[:2]).switches == 0
    assert evaluate_tracks(frames).switches == 1


def test_hota_by_hand() -> None:
    """One person of 4 images, followed as 7 in two and as 8 in two: DetA = 1, AssA = 2 / 4."""
    metrics = evaluate_tracks([one(7, 1.0), one(7, 1.0), one(8, 1.0), one(8, 1.0)])
    assert metrics.hota == pytest.approx(np.sqrt(0.5))
    half = evaluate_tracks([one(7, 0.5)] * 4)  # found at the thresholds 0.05 to 0.5
    assert half.hota == pytest.approx(10 / 19)


def test_nobody() -> None:
    empty = frame([], [], [])
    assert evaluate_tracks([empty, empty]).mota == 1
    assert evaluate_tracks([]).hota == 0
    assert evaluate_tracks([one(None)] * 3).misses == 3
    assert evaluate_tracks([frame([], [3], [])]).false_positives == 1


def random_film(seed: int) -> list[TrackedFrame]:
    """Four persons with identities that are mostly right, sometimes lost, swapped or new."""
    rng = np.random.default_rng(seed)
    names = {1: 11, 2: 12, 3: 13, 4: 14}
    frames = []
    for _ in range(60):
        if rng.random() < 0.15:
            a, b = rng.choice(4, 2, replace=False) + 1
            names[a], names[b] = names[b], names[a]
        if rng.random() < 0.1:
            names[int(rng.integers(1, 5))] = int(rng.integers(20, 1000))
        people = [person for person in names if rng.random() < 0.85]
        found = [person for person in people if rng.random() < 0.8]
        ids = list(dict.fromkeys(names[person] for person in found))
        similarities = rng.uniform(0, 0.45, (len(people), len(ids)))
        for row, person in enumerate(people):
            if names[person] in ids:
                similarities[row, ids.index(names[person])] = rng.uniform(0.4, 1)
        frames.append(frame(people, ids, similarities.tolist()))
    return frames


@pytest.mark.parametrize("seed", range(3))
def test_motmetrics_agrees(seed: int) -> None:
    motmetrics = pytest.importorskip("motmetrics", reason="the oracle, `pip install motmetrics`")
    frames = random_film(seed)
    accumulator = motmetrics.MOTAccumulator(auto_id=True)
    for item in frames:
        distances = np.where(item.similarities >= 0.5, 1 - item.similarities, np.nan)
        accumulator.update(item.gt_ids.tolist(), item.ids.tolist(), distances)
    names = ["num_misses", "num_false_positives", "num_switches", "num_fragmentations", "mota", "idf1"]
    expected = motmetrics.metrics.create().compute(accumulator, metrics=names).iloc[0]
    found = evaluate_tracks(frames)
    assert found.switches > 2
    assert (found.misses, found.false_positives, found.switches, found.fragments) == tuple(
        expected[names[:4]].astype(int)
    )
    assert found.mota == pytest.approx(expected["mota"])
    assert found.idf1 == pytest.approx(expected["idf1"])


def test_poses_without_identity_and_persons_without_keypoints_are_left_out() -> None:
    points = np.full((2, 17, 3), 10.0)
    points[1, :, 2] = 0
    poses = np.full((3, 17, 3), 10.0)
    item = tracked_frame([1, 2], points, np.array([100.0, 100]), [5, 0, 6], poses, COCO)
    assert item.gt_ids.tolist() == [1]
    assert item.ids.tolist() == [5, 6]
    assert item.similarities.tolist() == [[1, 1]]


@pytest.fixture
def files(tmp_path: Path) -> tuple[Path, Path]:
    """The ground truth of a film of 3 images and a perfect prediction of it."""
    keypoints = np.concatenate([np.arange(34).reshape(17, 2), np.full((17, 1), 2)], axis=1)
    images = [{"id": i + 10, "video_id": 4, "frame_id": i, "file_name": f"{i}.jpg"} for i in range(3)]
    person = {"category_id": 1, "track_id": 8, "area": 500, "keypoints": keypoints.flatten().tolist()}
    annotations = [person | {"id": i, "image_id": i + 10} for i in range(3)]
    videos = [{"id": 4, "name": "film.mp4"}]
    content = {"videos": videos, "images": images, "annotations": annotations}
    (tmp_path / "film.json").write_text(json.dumps(content))
    named = {name: [x + 0.5, y + 0.5, 1] for name, (x, y, _) in zip(COCO.keypoints, keypoints, strict=True)}
    records = [
        {"name": "film.mp4", "number": i, "people": [{"score": 1, "id": 1, "keypoints": named}]}
        for i in range(3)
    ]
    (tmp_path / "poses.json").write_text(json.dumps(records))
    return tmp_path / "film.json", tmp_path / "poses.json"


def test_files(files: tuple[Path, Path]) -> None:
    metrics = evaluate_track_files(*files)
    assert metrics.hota == metrics.mota == 1
    assert str(metrics).startswith(
        "3 persons, 0 missed, 0 false positives, 0 switches, 0 fragments, MOTA 100.0 %"
    )


@pytest.mark.parametrize(
    ("index", "old", "new", "message"),
    [
        (0, '"videos"', '"films"', r"film\.json must have videos"),
        (0, '"track_id"', '"person"', r"annotations with track_id"),
        (0, "]", "", r"film\.json is not valid JSON"),
        (1, '"people"', '"persons"', r"poses\.json must be a poses\.json"),
        (1, "film.mp4", "other.mp4", r"no video of the ground truth \(film\.mp4\) .* of other\.mp4"),
        (1, '"id"', '"score2"', r"people with an id \(predict\.py --track\)"),
    ],
)
def test_wrong_files_are_named(
    files: tuple[Path, Path], index: int, old: str, new: str, message: str
) -> None:
    files[index].write_text(files[index].read_text().replace(old, new))
    with pytest.raises(ValueError, match=message):
        evaluate_track_files(*files)


def ground_truth_with(content: dict, **values: Any) -> dict:
    """The ground truth with other values in its second annotation; None takes a value away."""
    person = content["annotations"][1]
    for key, value in values.items():
        person[key] = value
    return content


@pytest.mark.parametrize(
    ("values", "message"),
    [
        ({"keypoints": [float("nan")] * 51}, r"annotation 1: keypoints must be .*finite"),
        ({"keypoints": ["3"] * 51}, r"annotation 1: keypoints must be"),
        ({"keypoints": [1e300] * 51}, r"annotation 1: keypoints must be"),
        ({"keypoints": [True] * 51}, r"annotation 1: keypoints must be"),
        ({"keypoints": [1, 2, 2]}, r"annotation 1: keypoints must be 51 numbers"),
        ({"keypoints": None}, r"annotation 1: keypoints must be"),
        ({"track_id": None}, r"annotation 1: track_id must be"),
        ({"track_id": True}, r"annotation 1: track_id must be"),
        ({"track_id": [1]}, r"annotation 1: track_id must be"),
        ({"image_id": 99}, r"annotation 1: image_id must be the id of an image, not 99"),
        ({"image_id": 10}, r"annotation 1: another person of its image has the track_id 8"),
        ({"area": 0}, r"annotation 1: area must be a finite number above 0, not 0"),
        ({"area": float("nan")}, r"annotation 1: area must be .*not nan"),
        ({"area": "500"}, r"annotation 1: area must be .*not '500'"),
        ({"area": -1, "bbox": [0, 0, 0, 5]}, r"annotation 1: area must be .*not -1, or bbox"),
        ({"bbox": [0, 0, 1]}, r"annotation 1: bbox must be x, y"),
    ],
)
def test_ground_truth_that_means_nothing_is_refused(
    files: tuple[Path, Path], values: dict[str, Any], message: str
) -> None:
    content = ground_truth_with(json.loads(files[0].read_text()), **values)
    files[0].write_text(json.dumps(content))
    with pytest.raises(ValueError, match=rf"film\.json must have .*{message}"):
        evaluate_track_files(*files)


def test_an_area_is_taken_from_the_box_and_crowds_are_left_out(
    files: tuple[Path, Path], caplog: pytest.LogCaptureFixture
) -> None:
    content = ground_truth_with(json.loads(files[0].read_text()), area=0, bbox=[0, 0, 30, 30])
    content["annotations"].append({"id": 9, "image_id": 10, "iscrowd": 1})
    files[0].write_text(json.dumps(content))
    assert evaluate_track_files(*files).mota == 1
    assert "1 annotations have no valid area" in caplog.text


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda record: record.update(number=1.5), r"record at index 0: number must be"),
        (lambda record: record.update(name=5), r"record at index 0: name must be"),
        (lambda record: record.update(people={}), r"record at index 0: people must be a list"),
        (lambda record: record.update(people=record["people"] * 2), r"two persons of one id"),
        (lambda record: record.update(number=1), r"image 1 of film\.mp4 is there twice"),
        (
            lambda record: record.update(name="a/film.mp4"),
            r"a/film\.mp4 and film\.mp4 are two videos of one name",
        ),
        (lambda record: record["people"][0].update(id="1"), r"person 1: id must be|person .1.: id must be"),
        (lambda record: record["people"][0].update(keypoints=[]), r"keypoints must be x, y and a score"),
        (
            lambda record: record["people"][0]["keypoints"].update(nose=[1, None, 1]),
            r"keypoints must be x, y",
        ),
        (lambda record: record["people"][0]["keypoints"].pop("nose"), r"a person has no keypoint nose"),
    ],
)
def test_poses_that_mean_nothing_are_refused(files: tuple[Path, Path], change: Any, message: str) -> None:
    records = json.loads(files[1].read_text())
    change(records[0])
    files[1].write_text(json.dumps(records))
    with pytest.raises(ValueError, match=message):
        evaluate_track_files(*files)


@pytest.mark.parametrize(
    "text", ["null", "[]", "3", '{"videos": null, "images": [], "annotations": []}', "[" * 9999]
)
def test_other_documents_are_named(files: tuple[Path, Path], text: str) -> None:
    for file in files:
        before = file.read_text()
        file.write_text(text)
        with pytest.raises(ValueError, match=r"film\.json|poses\.json"):
            evaluate_track_files(*files)
        file.write_text(before)


@pytest.mark.parametrize("threshold", [0, -1, 2, float("nan")])
def test_the_least_similarity_is_a_share(files: tuple[Path, Path], threshold: float) -> None:
    with pytest.raises(ValueError, match=r"\(--oks\) must be above 0 and at most 1"):
        evaluate_track_files(*files, threshold=threshold)
