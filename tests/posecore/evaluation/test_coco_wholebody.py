"""COCO-WholeBody's metrics per part against a plain restatement of COCO's, and its evaluator."""

import json
import math

import numpy as np
import pytest
from helpers.coco_annotations import HALF, images, instances, perfect, random_ground_truth, random_results
from helpers.oks_oracle import coco_metrics

from posecore.evaluation import WholeBodyEvaluator
from posecore.evaluation.coco_wholebody import wholebody_score
from posecore.structures.skeleton import load_skeleton

WHOLEBODY = load_skeleton("coco_wholebody_133")
# How many keypoints each part has, in their order, and its key and flag in the files.
COUNTS = {"body": 17, "feet": 6, "face": 68, "left_hand": 21, "right_hand": 21}
KEYS = ("keypoints", "foot_kpts", "face_kpts", "lefthand_kpts", "righthand_kpts")
FLAGS = (None, "foot_valid", "face_valid", "lefthand_valid", "righthand_valid")
NAMES = ["AP", "AP50", "AP75", "AR", "AR50", "AR75"]


def parts():
    """Name, first keypoint, and the one after the last."""
    ends = np.cumsum(list(COUNTS.values())).tolist()
    return [(name, end - count, end) for (name, count), end in zip(COUNTS.items(), ends, strict=True)]


def wholebody_ground_truth(seed, images=12):
    """Joined; persons lack some parts."""
    rng = np.random.default_rng(seed)
    ground_truth = random_ground_truth(rng, WHOLEBODY, images)
    for person in ground_truth["annotations"]:
        for _, start, stop in parts():
            if rng.uniform() < 0.4:
                person["keypoints"][3 * start : 3 * stop] = [0] * (3 * (stop - start))
        person["num_keypoints"] = sum(v > 0 for v in person["keypoints"][2::3])
    return ground_truth


def as_in_the_files(ground_truth):
    """The parts apart, with flags; an invalid one may have numbers all the same."""
    people = []
    for person in ground_truth["annotations"]:
        person = dict(person)
        keypoints = person["keypoints"]
        for (_, start, stop), key, flag in zip(parts(), KEYS, FLAGS, strict=True):
            person[key] = keypoints[3 * start : 3 * stop]
            if flag:
                person[flag] = any(person[key][2::3])
                if not person[flag]:
                    person[key] = [7, 7, 1] * (stop - start)
        people.append(person)
    (category,) = ground_truth["categories"]
    return ground_truth | {
        "annotations": people,
        "categories": [category | {"keypoints": list(WHOLEBODY.keypoints[:17])}],
    }


def cut(items, start, stop):
    items = [item | {"keypoints": item["keypoints"][3 * start : 3 * stop]} for item in items]
    return [item | {"num_keypoints": sum(v > 0 for v in item["keypoints"][2::3])} for item in items]


@pytest.mark.parametrize("backend", ["hotcoco", "pycocotools"])
def test_parts(backend):
    ground_truth = wholebody_ground_truth(seed=0)
    results = random_results(np.random.default_rng(0), ground_truth, WHOLEBODY)
    before = json.dumps([ground_truth, results])
    found = wholebody_score(ground_truth, results, WHOLEBODY.sigmas, backend)
    assert json.dumps([ground_truth, results]) == before
    expected = coco_metrics(ground_truth, results, WHOLEBODY.sigmas)
    for name, start, stop in parts():
        people = ground_truth | {"annotations": cut(ground_truth["annotations"], start, stop)}
        metrics = coco_metrics(people, cut(results, start, stop), WHOLEBODY.sigmas[start:stop])
        expected |= {f"AP_{name}": metrics["AP"], f"AR_{name}": metrics["AR"]}
    for kind in ("AP", "AR"):
        expected[f"{kind}_hands"] = (expected[f"{kind}_left_hand"] + expected[f"{kind}_right_hand"]) / 2
    assert found == pytest.approx(expected, abs=1e-6)
    assert all(0 < value < 100 for value in found.values()), "the random case must say something"


def test_a_part_that_nobody_has_is_nan():
    ground_truth = wholebody_ground_truth(seed=1)
    _, start, stop = parts()[3]
    for person in ground_truth["annotations"]:
        person["keypoints"][3 * start : 3 * stop] = [0] * (3 * (stop - start))
    results = random_results(np.random.default_rng(1), ground_truth, WHOLEBODY)
    found = wholebody_score(ground_truth, results, WHOLEBODY.sigmas, "hotcoco")
    assert math.isnan(found["AP_left_hand"])
    assert math.isnan(found["AP_hands"])
    assert found["AP_right_hand"] > 0


def test_evaluator(dataset, tmp_path):
    ground_truth = wholebody_ground_truth(seed=2)
    name = dataset(as_in_the_files(ground_truth), skeleton=WHOLEBODY, format="coco_wholebody")
    evaluator = WholeBodyEvaluator(name, WHOLEBODY, output_dir=tmp_path / "out")
    evaluator.process(images(ground_truth), perfect(ground_truth))
    found = evaluator.evaluate()["keypoints"]
    assert list(found)[:6] == NAMES
    assert set(found) - set(NAMES) == {
        f"{kind}_{part}" for kind in ("AP", "AR") for part in (*COUNTS, "hands")
    }
    assert found["AP"] == found["AR"] == pytest.approx(100)
    # A guess at what is not labeled may lie on somebody else.
    assert min(found.values()) > 90
    written = json.loads((tmp_path / "out" / "coco_instances_results.json").read_text())
    assert [len(written[0][key]) for key in KEYS] == [3 * count for count in COUNTS.values()]
    first = next(output["instances"] for output in perfect(ground_truth) if len(output["instances"]))
    joined = np.concatenate([written[0][key] for key in KEYS]).reshape(-1, 3)
    np.testing.assert_allclose(joined + HALF, first.pred_keypoints[0].numpy(), atol=1e-4)


def test_nothing_found_anywhere(dataset):
    ground_truth = wholebody_ground_truth(seed=3)
    name = dataset(as_in_the_files(ground_truth), skeleton=WHOLEBODY, format="coco_wholebody")
    evaluator = WholeBodyEvaluator(name, WHOLEBODY)
    nobody = {"instances": instances(np.zeros((0, 133, 3)))}
    evaluator.process(images(ground_truth), [nobody for _ in ground_truth["images"]])
    assert set(evaluator.evaluate()["keypoints"].values()) == {0.0}
