"""Groups of persons by the direction of their torso."""

from typing import Any

import numpy as np
import pytest
from helpers.coco_annotations import CATEGORY
from helpers.skeletons import DOG

from posecore.evaluation.breakdown import group_precision
from posecore.evaluation.directions import DIRECTIONS, torso_angles
from posecore.structures.skeleton import load_skeleton

COCO = load_skeleton("coco_17")
TURNS = (0, 0, 45, 90, 180, 180)


def person(number: int, turn: float, labeled: bool = True) -> dict[str, Any]:
    """A person in an image of its own, turned by degrees around (200, 200)."""
    points = np.random.default_rng(number).uniform(-60, 60, (17, 2))
    points[[5, 6, 11, 12]] = (-10, -30), (10, -30), (-8, 30), (8, 30)
    angle = np.radians(turn)
    points = points @ np.array([[np.cos(angle), np.sin(angle)], [-np.sin(angle), np.cos(angle)]]) + 200
    seen = np.full((17, 1), 2.0)
    seen[5] *= labeled
    return {
        "id": number,
        "image_id": number,
        "category_id": CATEGORY,
        "bbox": [140, 140, 120, 120],
        "area": 9000.0,
        "iscrowd": 0,
        "keypoints": np.hstack([points, seen]).ravel().tolist(),
        "num_keypoints": 16 + labeled,
    }


def ground_truth(people: list[dict[str, Any]]) -> dict[str, Any]:
    return {
        "images": [
            {"id": person["id"], "file_name": f"{person['id']}.jpg", "height": 400, "width": 400}
            for person in people
        ],
        "annotations": people,
        "categories": [{"id": CATEGORY, "name": "person", "keypoints": list(COCO.keypoints)}],
    }


def result(person: dict[str, Any], score: float, shift: float = 0) -> dict[str, Any]:
    points = np.array(person["keypoints"]).reshape(17, 3)
    points[:, :2] += shift
    return {
        "image_id": person["image_id"],
        "category_id": CATEGORY,
        "score": score,
        "keypoints": points.ravel().tolist(),
    }


def directions(people: list[dict[str, Any]], results: list[dict[str, Any]]) -> dict[str, tuple[int, float]]:
    """Name -> number of persons and AP."""
    groups = group_precision(ground_truth(people), results, COCO)["direction"]
    return {group.name: (group.num_persons, group.precision) for group in groups}


def test_each_direction_has_its_persons_and_their_poses() -> None:
    people = [person(number, turn) for number, turn in enumerate(TURNS)]
    found = directions(people, [result(own, 0.9) for own in people[:5]])
    assert list(found) == list(DIRECTIONS)
    upright, leaning, lying, upside_down = found.values()
    assert upright == (2, pytest.approx(100))
    assert leaning == lying == (1, pytest.approx(100))
    assert upside_down == (2, pytest.approx(100 * 51 / 101))  # one of two is found


def test_a_pose_that_matches_nobody_counts_by_its_own_direction() -> None:
    people = [person(number, turn) for number, turn in enumerate(TURNS)]
    right = [result(own, 0.5) for own in people]
    wrong = [result(people[4], 0.9, shift=150)]  # upside down, beside the person
    upright, *_, upside_down = directions(people, right + wrong).values()
    assert upright == (2, pytest.approx(100))
    assert upside_down[1] == pytest.approx(100 * 2 / 3)


def test_a_pose_of_another_direction_counts_where_it_is_like_a_person() -> None:
    """Its shoulders and hips are exchanged, and the other keypoints are right: OKS is above 0.5."""
    people = [person(number, turn) for number, turn in enumerate(TURNS)]
    results = [result(own, 0.5) for own in people]
    points = np.array(results[0]["keypoints"]).reshape(17, 3)
    points[[5, 6, 11, 12]] = points[[11, 12, 5, 6]]
    results[0]["keypoints"] = points.ravel().tolist()
    upright, *_, upside_down = directions(people, results).values()
    assert 50 < upright[1] < 99
    assert upside_down == (2, pytest.approx(100))


def test_persons_without_a_labeled_torso_are_in_no_group() -> None:
    people = [person(0, 0), person(1, 0, labeled=False)]
    upright, *others = directions(people, [result(own, 0.5) for own in people]).values()
    assert upright == (1, pytest.approx(100))
    assert all(number == 0 and np.isnan(precision) for number, precision in others)


def test_without_poses_nobody_is_found() -> None:
    assert directions([person(0, 0)], [])["upright"] == (1, 0)


def test_angles_of_torsos() -> None:
    people = np.array([person(0, turn)["keypoints"] for turn in (0, 45, -90, 135, 180)]).reshape(-1, 17, 3)
    labeled = np.ones((5, 17), dtype=bool)
    assert torso_angles(people[..., :2], labeled, COCO) == pytest.approx([0, 45, 90, 135, 180], abs=1e-6)
    labeled[1, 11] = False
    people[2] = 7  # no length
    angles = torso_angles(people[..., :2], labeled, COCO)
    assert np.isnan(angles).tolist() == [False, True, True, False, False]
    assert torso_angles(people[:0, :, :2], labeled[:0], COCO).shape == (0,)
    with pytest.raises(ValueError, match="lacks left_shoulder"):
        torso_angles(np.zeros((1, 5, 2)), np.ones((1, 5), dtype=bool), DOG)
