"""AP over weighted images, its intervals and the calibration of scores are those of COCO's evaluation."""

import contextlib
import io
import warnings

import hotcoco
import numpy as np
import pytest
from helpers.coco_annotations import random_ground_truth, random_results
from helpers.skeletons import DOG

from posecore.evaluation.coco import AREAS, score, with_plain_ids
from posecore.evaluation.matches import (
    bootstrap,
    calibrate,
    difference,
    headline,
    match_poses,
    precision_and_recall,
)
from posecore.structures.skeleton import load_skeleton

SKELETONS = [load_skeleton("coco_17"), DOG, load_skeleton("coco_wholebody_133")]


def case(skeleton, seed=0, num_images=12):
    rng = np.random.default_rng(seed)
    ground_truth = random_ground_truth(rng, skeleton, num_images=num_images)
    return ground_truth, random_results(rng, ground_truth, skeleton)


@pytest.mark.parametrize("skeleton", SKELETONS, ids=lambda skeleton: skeleton.num_keypoints)
@pytest.mark.parametrize("seed", [0, 1])
def test_without_weights_it_is_cocos(skeleton, seed):
    ground_truth, results = case(skeleton, seed)
    expected = score(ground_truth, results, "keypoints", skeleton.sigmas, "pycocotools")
    found = headline(match_poses(ground_truth, results, skeleton.sigmas))
    assert found == pytest.approx({name: expected[name] for name in found}, abs=1e-6, nan_ok=True)


def repeated(ground_truth, results, weights):
    """A dataset in which each image stands as often as its weight says."""
    images, people, poses = [], [], []
    for image, weight in zip(ground_truth["images"], weights, strict=True):
        for turn in range(weight):
            own = {"image_id": 100 * image["id"] + turn}
            images.append(image | {"id": own["image_id"]})
            people += [
                person | own | {"id": len(people) + index}
                for index, person in enumerate(
                    item for item in ground_truth["annotations"] if item["image_id"] == image["id"]
                )
            ]
            poses += [result | own for result in results if result["image_id"] == image["id"]]
    return ground_truth | {"images": images, "annotations": people}, poses


def test_a_weight_is_a_number_of_copies():
    skeleton = SKELETONS[0]
    ground_truth, results = case(skeleton, 3)
    # Equal scores of different images would be ordered otherwise among copies.
    for index, result in enumerate(results):
        result["score"] += index * 1e-4
    weights = np.random.default_rng(0).integers(0, 4, len(ground_truth["images"]))
    copies, poses = repeated(ground_truth, results, weights)
    expected = score(copies, poses, "keypoints", skeleton.sigmas, "pycocotools")
    found = headline(match_poses(ground_truth, results, skeleton.sigmas), weights.astype(float))
    assert found == pytest.approx({name: expected[name] for name in found}, abs=1e-6, nan_ok=True)


def test_no_poses_and_nobody_to_be_found():
    skeleton = SKELETONS[0]
    ground_truth, results = case(skeleton)
    nothing = match_poses(ground_truth, [], skeleton.sigmas)
    assert headline(nothing)["AP"] == 0
    assert (
        nothing[""].num_persons.sum()
        == match_poses(ground_truth, results, skeleton.sigmas)[""].num_persons.sum()
    )
    nobody = ground_truth | {"annotations": []}
    matches = match_poses(nobody, results, skeleton.sigmas)
    assert np.isnan(precision_and_recall(matches[""])[0]).all()
    intervals, _ = bootstrap(matches, 3, seed=0)
    assert np.isnan([intervals["AP"].value, intervals["AP"].low]).all()


def test_intervals_hold_the_value_and_are_repeatable():
    skeleton = SKELETONS[0]
    ground_truth, results = case(skeleton, 5, num_images=30)
    matches = match_poses(ground_truth, results, skeleton.sigmas)
    intervals, drawn = bootstrap(matches, 60, seed=1)
    assert intervals["AP"].low < intervals["AP"].value < intervals["AP"].high
    again, _ = bootstrap(matches, 60, seed=1)
    assert again == intervals
    other, _ = bootstrap(matches, 60, seed=2)
    assert other["AP"].low != intervals["AP"].low
    # A run differs from itself by nothing, in every draw.
    same = difference(intervals, intervals, drawn, drawn)["AP"]
    assert (same.value, same.low, same.high) == (0, 0, 0)
    exact, _ = bootstrap(matches, 0, seed=1)
    assert exact["AP"].low == exact["AP"].high == exact["AP"].value


def test_intervals_cover_as_they_say():
    """Of samples of a large set of images, about 9 in 10 have the AP of the set in their 90 % interval."""
    skeleton = DOG
    ground_truth, results = case(skeleton, 7, num_images=150)
    matches = match_poses(ground_truth, results, skeleton.sigmas, {"": AREAS[""]})[""]
    goal = precision_and_recall(matches)[0].mean()
    rng = np.random.default_rng(0)
    covered = 0
    for _ in range(40):
        sample = np.bincount(rng.integers(0, 150, 60), minlength=150).astype(float)
        values = []
        for _ in range(40):
            drawn = rng.choice(150, size=60, p=sample / sample.sum())
            weights = np.bincount(drawn, minlength=150).astype(float)
            values.append(precision_and_recall(matches, weights)[0].mean())
        low, high = np.quantile(values, [0.05, 0.95])
        covered += low <= goal <= high
    assert 28 <= covered <= 40


@pytest.mark.parametrize("skeleton", SKELETONS[:2], ids=lambda skeleton: skeleton.num_keypoints)
def test_calibration_is_the_librarys(skeleton):
    ground_truth, results = case(skeleton, 2)
    # The library puts a score on an edge into the bin below or above by rounding.
    for result in results:
        result["score"] = min(result["score"] + 0.0037, 0.999)
    plain, own = with_plain_ids(ground_truth, results)
    own = [{key: value for key, value in result.items() if key != "bbox"} for result in own]
    with contextlib.redirect_stdout(io.StringIO()), warnings.catch_warnings():
        warnings.simplefilter("ignore")
        coco = hotcoco.COCO(plain)
        evaluation = hotcoco.COCOeval(coco, coco.load_res(own), "keypoints")
        evaluation.params.kpt_oks_sigmas = list(skeleton.sigmas)
        evaluation.evaluate()
        expected = evaluation.calibration(n_bins=10, iou_threshold=0.5)
    found = calibrate(match_poses(ground_truth, results, skeleton.sigmas)[""])
    assert found.error == pytest.approx(expected["ece"])
    assert found.counts.tolist() == [row["count"] for row in expected["bins"]]
    assert found.accuracy == pytest.approx([row["avg_accuracy"] for row in expected["bins"]])


def test_scores_that_are_no_probabilities():
    ground_truth, results = case(DOG)
    results[0]["score"] = 1.5
    assert calibrate(match_poses(ground_truth, results, DOG.sigmas)[""]) is None
