"""COCO metrics: hotcoco against pycocotools, and the cases in which either would go wrong by itself."""

import copy
import json
import logging
import math

import numpy as np
import pytest
import torch
from helpers.coco_annotations import (
    CATEGORY,
    HALF,
    images,
    instances,
    perfect,
    random_ground_truth,
    random_results,
)
from helpers.processes import in_processes
from helpers.skeletons import DOG
from helpers.support import core_cfg

from posecore.data import register
from posecore.evaluation import COCOPoseEvaluator
from posecore.evaluation.coco import METRICS, score
from posecore.evaluation.results import coco_results
from posecore.structures.skeleton import load_skeleton

COCO = load_skeleton("coco_17")


@pytest.mark.parametrize("skeleton", [COCO, DOG], ids=lambda skeleton: skeleton.name)
@pytest.mark.parametrize("task", METRICS)
@pytest.mark.parametrize("seed", range(4))
def test_hotcoco_equals_pycocotools(skeleton, task, seed):
    rng = np.random.default_rng(seed)
    ground_truth = random_ground_truth(rng, skeleton)
    results = random_results(rng, ground_truth, skeleton)
    ours = score(ground_truth, results, task, skeleton.sigmas, "hotcoco")
    theirs = score(ground_truth, results, task, skeleton.sigmas, "pycocotools")
    assert ours == pytest.approx(theirs, abs=1e-9, nan_ok=True)
    assert 0 < ours["AP"] < 100, "the random case must say something"
    assert len(ours) == 10


@pytest.mark.parametrize("backend", ["hotcoco", "pycocotools"])
def test_neither_ground_truth_nor_results_are_modified(backend):
    rng = np.random.default_rng(0)
    ground_truth = random_ground_truth(rng, DOG)
    results = random_results(rng, ground_truth, DOG)
    before = json.dumps([ground_truth, results])
    for task in METRICS:
        score(ground_truth, results, task, DOG.sigmas, backend)
    assert json.dumps([ground_truth, results]) == before


@pytest.mark.parametrize("backend", ["hotcoco", "pycocotools"])
def test_the_skeletons_sigmas_are_used(backend):
    rng = np.random.default_rng(0)
    ground_truth = random_ground_truth(rng, DOG)
    results = random_results(rng, ground_truth, DOG)
    strict, lenient = (
        score(ground_truth, results, "keypoints", [sigma * factor for sigma in DOG.sigmas], backend)["AP"]
        for factor in (0.3, 3)
    )
    assert strict < lenient


@pytest.mark.parametrize("backend", ["hotcoco", "pycocotools"])
def test_the_ground_truth_itself_scores_full_marks_whatever_the_ids(backend):
    ground_truth = random_ground_truth(np.random.default_rng(1), DOG)
    results = [
        {key: person[key] for key in ("image_id", "category_id", "keypoints")} | {"score": 1.0}
        for person in ground_truth["annotations"]
        if person["num_keypoints"]
    ]
    found = score(ground_truth, results, "keypoints", DOG.sigmas, backend)
    assert found["AP"] == found["AR"] == pytest.approx(100)


def ground_truth_of_one(**changes):
    keypoints = [10, 20, 2, 50, 20, 2, 10, 90, 2, 30, 30, 2, 50, 90, 1]
    person = {"id": 1, "image_id": 1, "category_id": CATEGORY, "bbox": [10, 20, 40, 70], "area": 2000.0}
    person |= {"iscrowd": 0, "keypoints": keypoints, "num_keypoints": 5} | changes
    return {
        "images": [{"id": 1, "file_name": "1.jpg", "height": 100, "width": 100}],
        "categories": [{"id": CATEGORY, "name": "dog", "keypoints": list(DOG.keypoints)}],
        "annotations": [person],
    }


def one_result(shift=0.0, **changes):
    points = np.array(ground_truth_of_one()["annotations"][0]["keypoints"], float)
    points[0::3] += shift
    return {"image_id": 1, "category_id": CATEGORY, "score": 0.9, "keypoints": points.tolist()} | changes


@pytest.mark.parametrize("backend", ["hotcoco", "pycocotools"])
@pytest.mark.parametrize(
    "changes", [{"iscrowd": 1}, {"num_keypoints": 0, "keypoints": [0] * 15}], ids=["crowd", "unlabeled"]
)
def test_who_is_not_wanted_does_not_count(backend, changes):
    """A pose on a crowd or on a person without keypoints is no false alarm; elsewhere it is."""
    ground_truth = random_ground_truth(np.random.default_rng(2), DOG)
    results = random_results(np.random.default_rng(2), ground_truth, DOG)
    extra = ground_truth_of_one(**changes)["annotations"][0]
    person = {**extra, "image_id": 0, "id": 1000, "bbox": [0, 0, 500, 500], "area": 40000.0}
    # Without labels similarity is measured to the box, in which the pose must lie; a crowd is one too.
    found = one_result(image_id=0, score=2.0)
    without = score(ground_truth, results, "keypoints", DOG.sigmas, backend)["AP"]
    with_pose = score(ground_truth, [*results, found], "keypoints", DOG.sigmas, backend)["AP"]
    ground_truth["annotations"].append(person)
    ignored = score(ground_truth, [*results, found], "keypoints", DOG.sigmas, backend)["AP"]
    assert ignored == pytest.approx(without)
    assert with_pose < without


@pytest.mark.parametrize("backend", ["hotcoco", "pycocotools"])
def test_nothing_found_is_zero_and_missing_where_there_is_nobody(backend):
    """As if one wrong pose had been found, which both libraries can evaluate."""
    far = one_result(shift=5000, score=0.1, bbox=[5000, 5000, 40, 70])
    for task, names in METRICS.items():
        for area in (2000.0, 500.0, 1e5, 1e11):
            ground_truth = ground_truth_of_one(area=area)
            found = score(ground_truth, [], task, DOG.sigmas, backend)
            assert list(found) == list(filter(None, names))
            np.testing.assert_equal(found, score(ground_truth, [far], task, DOG.sigmas, backend))


@pytest.mark.parametrize("backend", ["hotcoco", "pycocotools"])
@pytest.mark.parametrize("convert", [str, lambda i: f"{i:03}.jpg", lambda i: -i, lambda i: 2**62 + i])
def test_ids_of_any_kind_give_the_same_numbers(backend, convert):
    ground_truth = random_ground_truth(np.random.default_rng(3), DOG, num_images=9)
    results = random_results(np.random.default_rng(3), ground_truth, DOG)
    for index, result in enumerate(results):  # no ties, which the order of the ids breaks
        result["score"] += 1e-6 * index
    renamed = copy.deepcopy(ground_truth)
    renamed["categories"][0]["id"] = "dog"
    others = copy.deepcopy(results)
    for item in [*renamed["annotations"], *others]:
        item |= {"image_id": convert(item["image_id"]), "category_id": "dog"}
    for image in renamed["images"]:
        image["id"] = convert(image["id"])
    before = copy.deepcopy((renamed, others))
    for task in METRICS:
        expected = score(ground_truth, results, task, DOG.sigmas, backend)
        found = score(renamed, others, task, DOG.sigmas, backend)
        assert found == pytest.approx(expected, abs=1e-9, nan_ok=True)
    assert before == (renamed, others)


@pytest.mark.parametrize("backend", ["hotcoco", "pycocotools"])
def test_text_ids_are_written_as_they_were(dataset, tmp_path, backend):
    ground_truth = random_ground_truth(np.random.default_rng(0), DOG)
    for item in ground_truth["annotations"]:
        item["image_id"] = f"frame_{item['image_id']}"
    for image in ground_truth["images"]:
        image["id"] = f"frame_{image['id']}"
    evaluator = COCOPoseEvaluator(dataset(ground_truth), DOG, backend=backend, output_dir=tmp_path / "out")
    evaluator.process(images(ground_truth), perfect(ground_truth))
    assert evaluator.evaluate()["keypoints"]["AP"] == pytest.approx(100)
    written = json.loads((tmp_path / "out" / "coco_instances_results.json").read_text())
    assert {result["image_id"] for result in written} <= {image["id"] for image in ground_truth["images"]}


@pytest.mark.parametrize("backend", ["hotcoco", "pycocotools"])
def test_sizes_that_the_ground_truth_does_not_have_are_nan(backend):
    found = score(ground_truth_of_one(), [one_result()], "keypoints", DOG.sigmas, backend)
    assert found["AP"] == found["APm"] == pytest.approx(100)
    assert math.isnan(found["APl"])
    assert math.isnan(found["ARl"])


@pytest.mark.parametrize("backend", ["hotcoco", "pycocotools"])
def test_boxes_in_the_results_do_not_change_the_score_of_poses(backend):
    ground_truth = random_ground_truth(np.random.default_rng(3), DOG)
    with_boxes = random_results(np.random.default_rng(3), ground_truth, DOG)
    for result in with_boxes:
        result["bbox"][2] *= 5
    without = [{key: value for key, value in result.items() if key != "bbox"} for result in with_boxes]
    a, b = (score(ground_truth, r, "keypoints", DOG.sigmas, backend) for r in (with_boxes, without))
    assert a == b


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_results_in_cocos_format(dtype):
    found = instances([[[1.5, 2.5, 0.3], [3.0, 4.0, 1.0]]], scores=[0.75], boxes=[[1.0, 2.0, 4.0, 8.0]])
    found.pred_keypoints = found.pred_keypoints.to(dtype)
    found.pred_boxes.tensor = found.pred_boxes.tensor.to(dtype)
    before = found.pred_keypoints.clone(), found.pred_boxes.tensor.clone()
    (result,) = coco_results(found, 2, image_id=5, category_id=7)
    assert result == {
        "image_id": 5,
        "category_id": 7,
        "score": 0.75,
        "keypoints": pytest.approx([1.0, 2.0, 0.3, 2.5, 3.5, 1.0]),
    }
    (result,) = coco_results(found, 2, image_id=5, category_id=7, with_boxes=True)
    assert result["bbox"] == [1.0, 2.0, 3.0, 6.0]
    assert torch.equal(found.pred_keypoints, before[0])
    assert torch.equal(found.pred_boxes.tensor, before[1])


def test_what_is_no_person_is_left_out():
    found = instances([[[1.5, 2.5, 1.0]], [[3.5, 4.5, 1.0]]], scores=[0.75, 0.5])
    found.pred_classes = torch.tensor([1, 0])
    (result,) = coco_results(found, 1, image_id=5, category_id=1)
    assert result["score"] == 0.5


def test_no_instances_no_results():
    assert coco_results(instances(torch.zeros(0, 5, 3)), 5, image_id=1, category_id=1, with_boxes=True) == []


@pytest.mark.parametrize("backend", ["hotcoco", "pycocotools"])
def test_evaluator(dataset, tmp_path, backend):
    ground_truth = random_ground_truth(np.random.default_rng(0), DOG)
    evaluator = COCOPoseEvaluator(dataset(ground_truth), DOG, backend=backend, output_dir=tmp_path / "out")
    for _ in range(2):  # a reset forgets the first round
        evaluator.reset()
        evaluator.process(images(ground_truth), perfect(ground_truth))
        metrics = evaluator.evaluate()
    assert metrics.keys() == {"keypoints"}
    assert metrics["keypoints"]["AP"] == pytest.approx(100)
    written = json.loads((tmp_path / "out" / "coco_instances_results.json").read_text())
    assert len(written) == sum(person["num_keypoints"] > 0 for person in ground_truth["annotations"])
    assert written[0].keys() == {"image_id", "category_id", "score", "keypoints"}
    assert written[0]["category_id"] == CATEGORY
    labeled = [person for person in ground_truth["annotations"] if person["num_keypoints"]]
    points, own = (np.reshape(item["keypoints"], (-1, 3)) for item in (written[0], labeled[0]))
    np.testing.assert_allclose(points[own[:, 2] > 0], own[own[:, 2] > 0], atol=1e-4)


def test_boxes_are_scored_on_request(dataset, tmp_path):
    ground_truth = ground_truth_of_one()
    evaluator = COCOPoseEvaluator(
        dataset(ground_truth), DOG, tasks=("keypoints", "bbox"), output_dir=tmp_path
    )
    keypoints = np.array(one_result()["keypoints"]).reshape(1, 5, 3) + HALF
    found = instances(keypoints, boxes=[[10.0, 20.0, 50.0, 90.0]])
    evaluator.process(images(ground_truth), [{"instances": found}])
    metrics = evaluator.evaluate()
    assert metrics["bbox"]["AP"] == metrics["keypoints"]["AP"] == pytest.approx(100)
    assert json.loads((tmp_path / "coco_instances_results.json").read_text())[0]["bbox"] == [10, 20, 40, 70]


def test_missing_areas_are_filled(dataset):
    ground_truth = random_ground_truth(np.random.default_rng(0), DOG)
    for person in ground_truth["annotations"]:
        del person["area"], person["iscrowd"], person["num_keypoints"]
    evaluator = COCOPoseEvaluator(dataset(ground_truth), DOG)
    evaluator.process(images(ground_truth), perfect(random_ground_truth(np.random.default_rng(0), DOG)))
    assert evaluator.evaluate()["keypoints"]["AP"] == pytest.approx(100)


def test_nothing_found_anywhere(dataset, caplog):
    ground_truth = random_ground_truth(np.random.default_rng(0), DOG)
    evaluator = COCOPoseEvaluator(dataset(ground_truth), DOG)
    nobody = instances(torch.zeros(0, 5, 3))
    evaluator.process(images(ground_truth), [{"instances": nobody} for _ in ground_truth["images"]])
    assert set(evaluator.evaluate()["keypoints"].values()) == {0.0}


def test_a_dataset_without_annotations_is_only_written(dataset, tmp_path, caplog):
    ground_truth = ground_truth_of_one()
    del ground_truth["annotations"], ground_truth["categories"]
    evaluator = COCOPoseEvaluator(dataset(ground_truth), DOG, output_dir=tmp_path / "out")
    evaluator.process(images(ground_truth), [{"instances": instances(torch.rand(1, 5, 3))}])
    with caplog.at_level(logging.WARNING, logger="posecore"):
        assert evaluator.evaluate() == {}
    assert "dogs has no annotations: the poses are not evaluated" in caplog.text
    (written,) = json.loads((tmp_path / "out" / "coco_instances_results.json").read_text())
    assert written["category_id"] == 1


@pytest.mark.parametrize("field", ["pred_keypoints", "scores", "pred_boxes"])
@pytest.mark.parametrize("value", [math.nan, math.inf])
def test_predictions_that_are_not_finite(dataset, field, value):
    ground_truth = ground_truth_of_one()
    evaluator = COCOPoseEvaluator(dataset(ground_truth), DOG, tasks=("keypoints", "bbox"))
    found = instances(torch.rand(1, 5, 3))
    numbers = found.get(field).tensor if field == "pred_boxes" else found.get(field)
    numbers[0] = value
    with pytest.raises(ValueError, match=r"1.jpg: a predicted .* is not finite"):
        evaluator.process(images(ground_truth), [{"instances": found}])


def test_poses_of_another_skeleton(dataset):
    ground_truth = ground_truth_of_one()
    evaluator = COCOPoseEvaluator(dataset(ground_truth), DOG)
    with pytest.raises(ValueError, match=r"1.jpg: predicted poses have shape \(17, 3\), the skeleton has 5"):
        evaluator.process(images(ground_truth), [{"instances": instances(torch.rand(1, 17, 3))}])


def test_annotations_of_another_skeleton(dataset):
    with pytest.raises(ValueError, match=r"'dogs' has skeleton 'dog', .* 'coco_17'"):
        COCOPoseEvaluator(dataset(ground_truth_of_one()), COCO)


@pytest.mark.parametrize(
    ("key", "value", "message"),
    [
        ("TEST.TASKS", ("keypoints", "segm"), r"TEST\.TASKS must hold only 'keypoints', 'bbox', not 'segm'"),
        ("TEST.TASKS", (), r"TEST\.TASKS must hold one or more of 'keypoints', 'bbox'"),
        (
            "TEST.COCO_BACKEND",
            "coco",
            r"TEST\.COCO_BACKEND must be one of 'hotcoco', 'pycocotools', not 'coco'",
        ),
    ],
)
def test_unknown_options(key, value, message):
    with pytest.raises(ValueError, match=message):
        COCOPoseEvaluator.from_config(core_cfg(key, value), "dogs", DOG, None)


def evaluate_a_part(file):
    """Each process takes every second image."""
    from detectron2.utils import comm

    register("dogs", file, ".", DOG)
    ground_truth = random_ground_truth(np.random.default_rng(0), DOG)
    evaluator = COCOPoseEvaluator("dogs", DOG)
    rank, size = comm.get_rank(), comm.get_world_size()
    evaluator.process(images(ground_truth)[rank::size], perfect(ground_truth)[rank::size])
    return evaluator.evaluate()


def test_predictions_of_all_processes_are_gathered(tmp_path):
    (tmp_path / "dogs.json").write_text(json.dumps(random_ground_truth(np.random.default_rng(0), DOG)))
    main, other = in_processes(evaluate_a_part, 2, str(tmp_path / "dogs.json"))
    assert main["keypoints"]["AP"] == pytest.approx(100)
    assert other == {}
