"""Errors that are made on purpose are found, and cost what they cost."""

import json

import numpy as np
import pytest
import torch
from helpers.coco_annotations import CATEGORY, random_ground_truth, random_results
from helpers.skeletons import DOG

from posecore.evaluation.coco import score
from posecore.evaluation.errors import KINDS, classify, find_errors
from posecore.structures.skeleton import load_skeleton

COCO = load_skeleton("coco_17")
FLIPS = list(DOG.flip_indices)
SIGMAS = torch.tensor(DOG.sigmas, dtype=torch.float64)


def dogs():
    """Two dogs far from each other, 10,000 square pixels each; (2, 5, 3)."""
    one = torch.tensor([[100, 100], [140, 180], [60, 180], [100, 140], [100, 220]], dtype=torch.float64)
    labeled = torch.full((2, 5, 1), 2.0, dtype=torch.float64)
    return torch.cat([torch.stack([one, one + 500]), labeled], dim=2)


def kinds(pose, ground_truth):
    areas = torch.full((len(ground_truth),), 1e4, dtype=torch.float64)
    found = classify(pose, ground_truth, areas, 0, SIGMAS, FLIPS)
    return [KINDS[kind] if kind >= 0 else None for kind in found.tolist()]


def at_similarity(value, k):
    """How far from the ground truth a keypoint has this similarity."""
    return float(np.sqrt(-2 * np.log(value) * 1e4) * 2 * DOG.sigmas[k])


def test_each_kind():
    ground_truth = dogs()
    pose = ground_truth[0, :, :2].clone()
    assert kinds(pose, ground_truth) == ["good"] * 5
    pose[0, 0] += at_similarity(0.84, 0)
    pose[3, 1] += at_similarity(0.51, 3)
    assert kinds(pose, ground_truth) == ["jitter", "good", "good", "jitter", "good"]
    pose = ground_truth[0, :, :2].clone()
    pose[1] = ground_truth[0, 2, :2]  # the other paw
    pose[2] = ground_truth[1, 1, :2]  # the other dog's other paw
    pose[3] = ground_truth[1, 3, :2]  # the other dog's back
    pose[4] = ground_truth[0, 0, :2]  # its own nose is not what a tail is confused with
    assert kinds(pose, ground_truth) == ["good", "inversion", "swap", "swap", "miss"]


def test_the_nearer_of_two_confusions():
    ground_truth = dogs()
    ground_truth[1, 2, :2] = ground_truth[0, 2, :2] + 4
    pose = ground_truth[0, :, :2].clone()
    pose[1] = ground_truth[0, 2, :2] + 3
    assert kinds(pose, ground_truth)[1] == "swap"
    pose[1] = ground_truth[0, 2, :2] + 1
    assert kinds(pose, ground_truth)[1] == "inversion"


def test_what_is_not_labeled_is_no_error():
    ground_truth = dogs()
    ground_truth[0, 0] = 0
    ground_truth[1, 3] = 0
    pose = ground_truth[0, :, :2].clone()
    pose[3] = dogs()[1, 3, :2]
    assert kinds(pose, ground_truth) == [None, "good", "good", "miss", "good"]


def test_nobody_else_in_the_image():
    ground_truth = dogs()[:1]
    assert kinds(ground_truth[0, :, :2], ground_truth) == ["good"] * 5


def scene():
    """Two dogs in image 1, nobody in image 2."""
    people = [
        {
            "id": index,
            "image_id": 1,
            "category_id": CATEGORY,
            "bbox": [0, 0, 250, 250],
            "area": 1e4,
            "iscrowd": 0,
            "num_keypoints": 5,
            "keypoints": points.flatten().tolist(),
        }
        for index, points in enumerate(dogs(), start=1)
    ]
    images = [{"id": index, "file_name": f"{index}.jpg", "height": 900, "width": 900} for index in (1, 2)]
    return {"images": images, "categories": [{"id": CATEGORY, "name": "dog"}], "annotations": people}


def found(person, value, **changes):
    return {
        "image_id": 1,
        "category_id": CATEGORY,
        "score": value,
        "keypoints": person["keypoints"],
    } | changes


@pytest.mark.parametrize("backend", ["hotcoco", "pycocotools"])
def test_what_errors_cost(backend):
    ground_truth = scene()
    first, second = ground_truth["annotations"]
    turned = np.array(second["keypoints"]).reshape(5, 3)[FLIPS].ravel().tolist()
    stranger = {"image_id": 2, "category_id": CATEGORY, "score": 0.95, "keypoints": [10.0] * 15}
    results = [found(first, 0.9), found(second, 0.8, keypoints=turned), stranger]
    before = json.dumps([ground_truth, results])
    errors = find_errors(ground_truth, results, DOG, backend)
    assert json.dumps([ground_truth, results]) == before
    assert errors.precision == pytest.approx(
        score(ground_truth, results, "keypoints", DOG.sigmas, backend)["AP"]
    )
    assert {kind: counts.tolist() for kind, counts in errors.keypoints.items()} == {
        "good": [2, 1, 1, 2, 2],
        "jitter": [0] * 5,
        "inversion": [0, 1, 1, 0, 0],
        "swap": [0] * 5,
        "miss": [0] * 5,
    }
    assert (errors.num_background, errors.num_missed) == (1, 0)
    assert errors.gains["jitter"] == errors.gains["swap"] == errors.gains["miss"] == 0
    for kind in ("inversion", "background", "score"):
        assert errors.gains[kind] > 0
    # Sides put right, two of three poses are right, after the stranger's: precision 2/3 at every recall.
    assert errors.precision + errors.gains["inversion"] == pytest.approx(200 / 3)


def test_who_is_missed():
    ground_truth = scene()
    errors = find_errors(ground_truth, [found(ground_truth["annotations"][0], 0.9)], DOG)
    assert errors.num_missed == 1
    assert errors.precision + errors.gains["missed"] == pytest.approx(100)


def test_scores_in_the_wrong_order():
    ground_truth = scene()
    one = ground_truth["annotations"][0]
    worse = found(one, 0.9)
    worse["keypoints"] = [number + 6 for number in one["keypoints"]]
    errors = find_errors(
        ground_truth, [worse, found(one, 0.1), found(ground_truth["annotations"][1], 0.5)], DOG
    )
    assert errors.num_background == 1, "of two poses of a dog one is too many"
    assert errors.gains["score"] > 0


def test_the_ground_truth_has_no_errors():
    ground_truth = random_ground_truth(np.random.default_rng(0), COCO)
    results = [
        found(p, 1.0, image_id=p["image_id"]) for p in ground_truth["annotations"] if p["num_keypoints"]
    ]
    errors = find_errors(ground_truth, results, COCO)
    assert errors.precision == pytest.approx(100)
    assert errors.gains == pytest.approx(dict.fromkeys(errors.gains, 0))
    labeled = sum(p["num_keypoints"] for p in ground_truth["annotations"])
    assert sum(int(counts.sum()) for counts in errors.keypoints.values()) == labeled
    assert int(errors.keypoints["good"].sum()) == labeled


def test_random_poses():
    rng = np.random.default_rng(1)
    ground_truth = random_ground_truth(rng, COCO)
    errors = find_errors(ground_truth, random_results(rng, ground_truth, COCO), COCO)
    assert all(
        int(counts.sum()) for kind, counts in errors.keypoints.items() if kind in ("good", "jitter", "miss")
    )
    assert min(errors.gains.values()) >= 0
    assert errors.num_background > 0


def test_nothing_found_and_nobody_there():
    ground_truth = scene()
    errors = find_errors(ground_truth, [], DOG)
    assert (errors.precision, errors.num_missed, errors.num_background) == (0, 2, 0)
    assert set(errors.gains.values()) == {0}
    assert {len(counts) for counts in errors.keypoints.values()} == {5}
