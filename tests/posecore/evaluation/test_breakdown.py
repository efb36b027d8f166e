"""AP of keypoints and of groups, and curves of PCK, beside plain loops and COCO's own figures."""

import numpy as np
import pytest
from helpers.coco_annotations import random_ground_truth, random_results
from helpers.skeletons import DOG

from posecore.evaluation.breakdown import (
    group_precision,
    is_counted,
    keypoint_precision,
    labeled_ranges,
    neighbor_overlaps,
    pck_curves,
)
from posecore.evaluation.coco import score
from posecore.evaluation.pck import MEAN, pck, pck_ground_truth
from posecore.structures.skeleton import load_skeleton

COCO = load_skeleton("coco_17")


@pytest.fixture(scope="module")
def scene():
    rng = np.random.default_rng(0)
    ground_truth = random_ground_truth(rng, COCO, num_images=20)
    return ground_truth, random_results(rng, ground_truth, COCO)


def test_a_keypoints_precision_is_that_of_poses_with_it_alone(scene):
    """All keypoints of a pose are at this one's place, and of the ground truth this one alone is labeled."""
    ground_truth, results = scene
    found = keypoint_precision(ground_truth, results, COCO)
    for k in (0, 9):
        people = []
        for person in ground_truth["annotations"]:
            points = np.array(person["keypoints"], dtype=float).reshape(-1, 3)
            points[np.arange(len(points)) != k] = 0
            people.append(
                person | {"keypoints": points.ravel().tolist(), "num_keypoints": int(points[k, 2] > 0)}
            )
        poses = [result | {"keypoints": result["keypoints"][3 * k : 3 * k + 3] * 17} for result in results]
        part = ground_truth | {"annotations": people}
        expected = score(part, poses, "keypoints", [COCO.sigmas[k]] * 17, "pycocotools")
        assert found[k] == pytest.approx(expected["AP"], abs=1e-6)


def test_a_spoiled_keypoint_alone_loses(scene):
    ground_truth, _ = scene
    results, spoiled = [], []
    for person in filter(is_counted, ground_truth["annotations"]):
        points = np.array(person["keypoints"], dtype=float).reshape(-1, 3)
        x, y, width, height = person["bbox"]
        points[points[:, 2] == 0, :2] = x + width / 2, y + height / 2
        result = {"image_id": person["image_id"], "category_id": person["category_id"], "score": 0.9}
        results.append(result | {"keypoints": points.ravel().tolist()})
        points[4, 0] += 4000
        spoiled.append(result | {"keypoints": points.ravel().tolist()})
    before, after = (keypoint_precision(ground_truth, poses, COCO) for poses in (results, spoiled))
    assert min(before) > 90
    assert after[4] == 0
    assert [after[k] for k in range(17) if k != 4] == [before[k] for k in range(17) if k != 4]


def test_groups(scene):
    ground_truth, results = scene
    groups = group_precision(ground_truth, results, COCO)
    persons = [person for person in ground_truth["annotations"] if is_counted(person)]
    for by in groups.keys() - {"direction"}:
        assert sum(group.num_persons for group in groups[by]) == len(persons), by
    medium = score(ground_truth, results, "keypoints", COCO.sigmas, "pycocotools")["APm"]
    assert groups["size"][1].precision == pytest.approx(medium, abs=1e-6)
    # The images of a crowding alone, as COCO's evaluation sees them.
    counts = {image["id"]: 0 for image in ground_truth["images"]}
    for person in ground_truth["annotations"]:
        counts[person["image_id"]] += not person["iscrowd"]
    chosen = {key for key, count in counts.items() if 4 <= count <= 7}
    part = {
        "images": [image for image in ground_truth["images"] if image["id"] in chosen],
        "annotations": [item for item in ground_truth["annotations"] if item["image_id"] in chosen],
        "categories": ground_truth["categories"],
    }
    own = [result for result in results if result["image_id"] in chosen]
    expected = score(part, own, "keypoints", COCO.sigmas, "pycocotools")["AP"]
    assert groups["crowding"][2].precision == pytest.approx(expected, abs=1e-6)


def test_a_skeleton_without_a_torso_has_no_directions():
    rng = np.random.default_rng(1)
    ground_truth = random_ground_truth(rng, DOG, num_images=4)
    assert "direction" not in group_precision(ground_truth, random_results(rng, ground_truth, DOG), DOG)


def test_groups_without_persons_have_no_precision():
    rng = np.random.default_rng(1)
    ground_truth = random_ground_truth(rng, DOG, num_images=4)
    results = random_results(rng, ground_truth, DOG)
    alone = ground_truth | {"annotations": ground_truth["annotations"][:0]}
    for groups in group_precision(alone, results, DOG).values():
        assert all(np.isnan(group.precision) and group.num_persons == 0 for group in groups)


@pytest.mark.parametrize("count", [1, 2, 3, 4, 5, 17, 133])
def test_ranges_of_labels_cover_every_number_once(count):
    numbers = [n for low, high in labeled_ranges(count) for n in range(low, high + 1)]
    assert numbers == list(range(1, count + 1))
    assert len(labeled_ranges(count)) == min(count, 4)


def test_overlaps():
    box = {"image_id": 1, "iscrowd": 0}
    people = [
        box | {"id": 1, "bbox": [0, 0, 10, 10]},
        box | {"id": 2, "bbox": [5, 0, 10, 10]},
        box | {"id": 3, "bbox": [0, 0, 0, 0]},
        box | {"id": 4, "bbox": [0, 0, 10, 10], "image_id": 2},
        box | {"id": 5, "bbox": [0, 0, 10, 10], "iscrowd": 1},
    ]
    overlaps = neighbor_overlaps(people)
    assert overlaps == pytest.approx({1: 1 / 3, 2: 1 / 3, 3: 0, 4: 0})


def test_pck_is_the_evaluators(scene):
    ground_truth, _ = scene
    people = [person for person in ground_truth["annotations"] if is_counted(person)]
    rng = np.random.default_rng(2)
    poses = np.array([person["keypoints"] for person in people], dtype=float).reshape(-1, 17, 3)[..., :2]
    poses += rng.normal(0, 12, poses.shape)
    poses[::4] = np.inf
    curves = pck_curves(people, poses, COCO, np.array([0.1, 0.2]))
    expected = pck(poses, pck_ground_truth(people, COCO), COCO)["pck"]
    assert curves.mean[1] == pytest.approx(expected[MEAN])
    assert curves.keypoints[1] == pytest.approx([expected[name] for name in COCO.keypoints], nan_ok=True)
    assert "torso" in curves.normalizer


def test_pck_without_a_torso_is_in_lengths_of_the_box():
    people = [{"keypoints": [10, 10, 2] * 4 + [0, 0, 0], "bbox": [0, 0, 50, 100]}]
    poses = np.full((1, 5, 2), 10.0)
    poses[0, :, 0] += [0, 10, 20, 30, 40]
    curves = pck_curves(people, poses, DOG, np.array([0.0, 0.15, 0.3]))
    assert "box" in curves.normalizer
    assert curves.mean == pytest.approx([25, 50, 100])
    assert curves.keypoints[1, :4].tolist() == [100, 100, 0, 0]
    assert np.isnan(curves.keypoints[:, 4]).all()
    nobody = pck_curves([], np.zeros((0, 5, 2)), DOG, np.array([0.1]))
    assert np.isnan(nobody.mean).all()
