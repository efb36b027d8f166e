"""CrowdPose's metrics against a plain restatement of its protocol, and its evaluator."""

import json
import math

import numpy as np
import pytest
from helpers.coco_annotations import images, instances, perfect, random_ground_truth, random_results
from helpers.oks_oracle import coco_metrics

from posecore.evaluation import CrowdPoseEvaluator
from posecore.evaluation.crowdpose import crowdpose_score
from posecore.structures.skeleton import load_skeleton

CROWDPOSE = load_skeleton("crowdpose_14")
NAMES = ["AP", "AP50", "AP75", "AR", "AR50", "AR75", "AP_easy", "AP_medium", "AP_hard"]


def crowdpose_ground_truth(seed, images=20, skeleton=CROWDPOSE):
    """As CrowdPose's files are, with persons all of whose keypoints are hidden among them."""
    rng = np.random.default_rng(seed)
    ground_truth = random_ground_truth(rng, skeleton, images)
    for image in ground_truth["images"]:
        image["crowdIndex"] = round(rng.uniform(), 2)
    for person in ground_truth["annotations"]:
        del person["area"]
        if rng.uniform() < 0.2:
            person["keypoints"][2::3] = [min(v, 1) for v in person["keypoints"][2::3]]
        person["num_keypoints"] = sum(v == 2 for v in person["keypoints"][2::3])
    return ground_truth


def completed(ground_truth):
    """The same as the reader returns it: with areas, and with hidden keypoints counted."""
    people = [
        person | {"area": 1.0, "num_keypoints": sum(v > 0 for v in person["keypoints"][2::3])}
        for person in ground_truth["annotations"]
    ]
    return ground_truth | {"annotations": people}


@pytest.mark.parametrize("backend", ["hotcoco", "pycocotools"])
@pytest.mark.parametrize("borders", [(0.1, 0.8), (0.2, 0.8), (0.4, 0.6)])
def test_the_protocol(backend, borders):
    ground_truth = crowdpose_ground_truth(seed=int(10 * borders[0]))
    results = random_results(np.random.default_rng(5), ground_truth, CROWDPOSE)
    found = crowdpose_score(completed(ground_truth), results, CROWDPOSE.sigmas, backend, borders)
    assert list(found) == NAMES
    for person in ground_truth["annotations"]:
        person["area"] = 0.53 * person["bbox"][2] * person["bbox"][3]
    expected = coco_metrics(ground_truth, results, CROWDPOSE.sigmas)
    for level, low, high in zip(("easy", "medium", "hard"), (0, *borders), (*borders, 2), strict=True):
        images = [image for image in ground_truth["images"] if low <= image["crowdIndex"] < high]
        ids = [image["id"] for image in images]
        people = [person for person in ground_truth["annotations"] if person["image_id"] in ids]
        part = {"images": images, "annotations": people}
        expected[f"AP_{level}"] = coco_metrics(part, results, CROWDPOSE.sigmas)["AP"]
    assert found == pytest.approx(expected, abs=1e-6, nan_ok=True)
    assert 0 < found["AP"] < 100, "the random case must say something"


def test_hidden_persons_are_of_no_account_but_hidden_keypoints_count():
    """A person with v = 1 alone need not be found; beside visible keypoints a hidden one is compared."""
    ground_truth = completed(crowdpose_ground_truth(seed=1))
    person = next(p for p in ground_truth["annotations"] if any(v == 2 for v in p["keypoints"][2::3]))
    results = [
        {key: p[key] for key in ("image_id", "category_id", "keypoints")} | {"score": 1.0}
        for p in ground_truth["annotations"]
        if p["num_keypoints"]
    ]
    full = crowdpose_score(ground_truth, results, CROWDPOSE.sigmas, "hotcoco")
    assert full["AP"] == full["AR"] == pytest.approx(100)
    only_hidden = [
        p for p in ground_truth["annotations"] if p["num_keypoints"] and 2 not in p["keypoints"][2::3]
    ]
    assert only_hidden
    keys = [p["keypoints"] for p in only_hidden]
    without = [result for result in results if result["keypoints"] not in keys]
    assert crowdpose_score(ground_truth, without, CROWDPOSE.sigmas, "hotcoco")["AR"] == pytest.approx(100)
    hidden = [k for k, v in enumerate(person["keypoints"][2::3]) if v == 1]
    moved = [result | {"keypoints": list(result["keypoints"])} for result in results]
    (one,) = [result for result in moved if result["keypoints"] == person["keypoints"]]
    for k in hidden:
        one["keypoints"][3 * k] += 500
    assert hidden
    assert crowdpose_score(ground_truth, moved, CROWDPOSE.sigmas, "hotcoco")["AR"] < 100


def test_inputs_are_not_modified():
    ground_truth = completed(crowdpose_ground_truth(seed=2))
    results = random_results(np.random.default_rng(2), ground_truth, CROWDPOSE)
    before = json.dumps([ground_truth, results])
    crowdpose_score(ground_truth, results, CROWDPOSE.sigmas, "hotcoco")
    assert json.dumps([ground_truth, results]) == before


def test_evaluator(dataset, tmp_path):
    ground_truth = crowdpose_ground_truth(seed=3)
    name = dataset(ground_truth, skeleton=CROWDPOSE, format="crowdpose")
    evaluator = CrowdPoseEvaluator(name, CROWDPOSE, tasks=("keypoints", "bbox"), output_dir=tmp_path / "out")
    evaluator.process(images(ground_truth), perfect(ground_truth))
    metrics = evaluator.evaluate()
    assert list(metrics["keypoints"]) == NAMES
    assert list(metrics["keypoints"].values()) == pytest.approx([100] * 9)
    assert "APs" in metrics["bbox"]
    assert (tmp_path / "out" / "coco_instances_results.json").is_file()


def test_nothing_found_anywhere_and_a_level_without_images(dataset):
    ground_truth = crowdpose_ground_truth(seed=4)
    for image in ground_truth["images"]:
        image["crowdIndex"] = 0.05
    name = dataset(ground_truth, skeleton=CROWDPOSE, format="crowdpose")
    evaluator = CrowdPoseEvaluator(name, CROWDPOSE)
    nobody = {"instances": instances(np.zeros((0, 14, 3)))}
    evaluator.process(images(ground_truth), [nobody for _ in ground_truth["images"]])
    found = evaluator.evaluate()["keypoints"]
    assert found["AP"] == found["AP_easy"] == 0
    assert math.isnan(found["AP_medium"])
    assert math.isnan(found["AP_hard"])


@pytest.mark.parametrize("borders", [(0.8, 0.1), (0.1,), (0, 0.8), (0.5, 1.5)])
def test_borders_in_disorder(borders):
    with pytest.raises(ValueError, match=r"TEST\.CROWD_BORDERS must be two rising numbers"):
        CrowdPoseEvaluator("any", CROWDPOSE, borders=borders)
