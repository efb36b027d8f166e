"""PCK against a plain restatement, by hand, and on real photographs."""

import logging
import math
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from helpers.coco_annotations import images, instances, perfect, random_ground_truth, random_results
from helpers.oks_oracle import coco_metrics
from helpers.processes import in_processes
from helpers.skeletons import DOG
from helpers.support import core_cfg

from posecore.data import load_dataset, register
from posecore.evaluation import PCKEvaluator, build_evaluator
from posecore.evaluation.assignment import assign_results, assigned_poses
from posecore.evaluation.pck import TORSO, pck, pck_ground_truth, torso_indices
from posecore.structures.skeleton import Skeleton, load_skeleton

LSP = load_skeleton("lsp_14")
COCO = load_skeleton("coco_17")
WHOLEBODY = load_skeleton("coco_wholebody_133")
SHOULDERS_AND_HIPS = [LSP.keypoints.index(name) for line in TORSO for name in line]


def oracle(people, poses, skeleton):
    """The definition in loops; poses: a list of (K, 2) or None. The means and the shares of all keypoints."""
    place = {name: k for k, name in enumerate(skeleton.keypoints)}
    other_side = {}
    for left, right in skeleton.flip_pairs:
        other_side[left], other_side[right] = right, left
    hits = {reading: {name: [] for name in skeleton.keypoints} for reading in ("labeled", "better")}
    for person, pose in zip(people, poses, strict=True):
        points = [person["keypoints"][3 * k : 3 * k + 3] for k in range(skeleton.num_keypoints)]
        torso = 0
        for shoulder, hip in (("left_shoulder", "right_hip"), ("right_shoulder", "left_hip")):
            (*start, start_flag), (*end, end_flag) = points[place[shoulder]], points[place[hip]]
            if start_flag > 0 and end_flag > 0:
                torso = max(torso, math.dist(start, end))
        if torso == 0:
            continue
        labeled, swapped = {}, {}
        for name, k in place.items():
            if points[k][2] > 0:
                for found, source in ((labeled, name), (swapped, other_side.get(name, name))):
                    found[name] = pose is not None and (
                        math.dist(pose[place[source]], points[k][:2]) <= 0.2 * torso
                    )
        better = swapped if sum(swapped.values()) > sum(labeled.values()) else labeled
        for reading, found in (("labeled", labeled), ("better", better)):
            for name, hit in found.items():
                hits[reading][name].append(hit)
    tables = {}
    for task, mean, reading in (
        ("pck", "PCK@0.2", "labeled"),
        ("pck_better_sides", "PCK@0.2_better_sides", "better"),
    ):
        every = [hit for found in hits[reading].values() for hit in found]
        tables[task] = {mean: percent(every)} | {name: percent(hits[reading][name]) for name in place}
    return tables


def percent(hits):
    return 100 * sum(hits) / len(hits) if hits else math.nan


def oracle_poses(people, results, num_keypoints):
    """The pose of each person, or None; test_assignment.py is about which one that is."""
    poses = assigned_poses(assign_results(people, results), num_keypoints)
    return [None if np.isinf(pose).all() else pose for pose in poses]


def athlete(change=lambda points: points):
    """One person whose torso is 100 pixels long: shoulders (0, 0), hips (60, 80), all others between."""
    points = np.full((14, 3), (30.0, 40.0, 2.0))
    for name, x, y in (
        ("left_shoulder", 0, 0),
        ("right_hip", 60, 80),
        ("right_shoulder", 10, 0),
        ("left_hip", 60, 70),
        ("left_ankle", 200, 200),
        ("right_ankle", 300, 200),
    ):
        points[LSP.keypoints.index(name), :2] = x, y
    return {"keypoints": change(points).ravel().tolist()}


def evaluate(people, poses, skeleton=LSP):
    return pck(np.asarray(poses, float), pck_ground_truth(people, skeleton), skeleton)


def own_pose(person):
    return np.reshape(person["keypoints"], (-1, 3))[:, :2]


@pytest.mark.parametrize("skeleton", [LSP, COCO, WHOLEBODY], ids=lambda skeleton: skeleton.name)
@pytest.mark.parametrize("seed", range(3))
def test_the_definition(dataset, skeleton, seed):
    rng = np.random.default_rng(seed)
    ground_truth = random_ground_truth(rng, skeleton)
    for person in ground_truth["annotations"][::2]:  # whole torsos are rare if a third is not labeled
        person["keypoints"][2::3] = [2] * skeleton.num_keypoints
        person["num_keypoints"] = skeleton.num_keypoints
    results = random_results(rng, ground_truth, skeleton)
    for result in results[::3]:
        points = np.reshape(result["keypoints"], (-1, 3))[list(skeleton.flip_indices)]
        result["keypoints"] = points.ravel().tolist()
    evaluator = PCKEvaluator(dataset(ground_truth, "many", skeleton, format="pck"), skeleton)
    metrics = evaluator.metrics(results)
    people = [person for person in evaluator.ground_truth["annotations"] if not person["iscrowd"]]
    expected = oracle(people, oracle_poses(people, results, skeleton.num_keypoints), skeleton)
    assert {task: metrics[task] for task in expected} == {
        task: pytest.approx(table, nan_ok=True) for task, table in expected.items()
    }
    assert list(metrics) == ["pck", "pck_better_sides", "keypoints"]
    assert 0 < metrics["pck"]["PCK@0.2"] < metrics["pck_better_sides"]["PCK@0.2_better_sides"] < 100
    assert {"AP", "AR", "APm"} < metrics["keypoints"].keys()
    # All poses count in AP, the assigned ones alone in AP_assigned.
    assigned = [result for result in assign_results(people, results) if result is not None]
    for name, counted in (("AP", results), ("AP_assigned", assigned)):
        oks = coco_metrics(evaluator.ground_truth, counted, skeleton.sigmas)["AP"]
        assert metrics["keypoints"][name] == pytest.approx(oks, abs=1e-6)


def test_a_fifth_of_the_torso_exactly_is_correct():
    person = athlete()
    pose = own_pose(person)
    pose[LSP.keypoints.index("neck")] += (20, 0)
    pose[LSP.keypoints.index("head_top")] += (0, 20.001)
    table = evaluate([person], [pose])["pck"]
    assert table["neck"] == 100
    assert table["head_top"] == 0
    assert table["PCK@0.2"] == pytest.approx(100 * 13 / 14)


def test_swapped_sides():
    """The ankles are the only pair whose sides are further apart than a fifth of the torso."""
    person = athlete()
    pose = own_pose(person)[list(LSP.flip_indices)]
    tables = evaluate([person], [pose])
    assert tables["pck"]["left_ankle"] == tables["pck"]["right_ankle"] == 0
    assert tables["pck"]["PCK@0.2"] == pytest.approx(100 * 12 / 14)
    assert set(tables["pck_better_sides"].values()) == {100}


def test_all_pairs_are_swapped_or_none():
    person = athlete()
    pose = own_pose(person)
    left, right = LSP.keypoints.index("left_ankle"), LSP.keypoints.index("right_ankle")
    pose[[left, right]] = pose[[right, left]]
    pose[LSP.keypoints.index("left_hip")] += 500
    tables = evaluate([person], [pose])
    # Swapped, the ankles are correct, and of the hips the right one is wrong instead of the left.
    assert tables["pck"]["PCK@0.2"] == pytest.approx(100 * 11 / 14)
    assert tables["pck_better_sides"]["PCK@0.2_better_sides"] == pytest.approx(100 * 13 / 14)
    assert tables["pck_better_sides"]["left_hip"] == 100
    assert tables["pck_better_sides"]["right_hip"] == 0


def test_readings_are_chosen_for_each_person():
    person = athlete()
    pose = own_pose(person)
    tables = evaluate([person] * 2, [pose, pose[list(LSP.flip_indices)]])
    assert tables["pck"]["left_ankle"] == 50
    assert tables["pck_better_sides"]["left_ankle"] == 100


def hidden_athlete(*names):
    def hide(points):
        points[[LSP.keypoints.index(name) for name in names]] = 0
        return points

    return athlete(hide)


@pytest.mark.parametrize(
    ("name", "length"),
    [
        ("left_shoulder", math.hypot(50, 70)),
        ("right_hip", math.hypot(50, 70)),
        ("right_shoulder", 100),
        ("left_hip", 100),
    ],
)
def test_the_torso_is_measured_by_the_line_that_is_labeled(name, length):
    assert pck_ground_truth([hidden_athlete(name)], LSP).torsos == pytest.approx([length])


@pytest.mark.parametrize("of_one_line", TORSO[0])
@pytest.mark.parametrize("of_other_line", TORSO[1])
def test_persons_without_a_torso_are_left_out(of_one_line, of_other_line):
    person, hidden = athlete(), hidden_athlete(of_one_line, of_other_line)
    tables = evaluate([person, hidden], [own_pose(person), np.full((14, 2), 1e6)])
    assert set(tables["pck"].values()) == {100}
    assert all(math.isnan(value) for value in evaluate([hidden], [own_pose(hidden)])["pck"].values())


def test_torsos_without_a_length_are_left_out():
    def shrink(points):
        points[SHOULDERS_AND_HIPS, :2] = 5
        return points

    point = athlete(shrink)
    assert math.isnan(evaluate([point], [own_pose(point)])["pck"]["PCK@0.2"])


def test_nobody():
    table = evaluate([], np.zeros((0, 14, 2)))["pck_better_sides"]
    assert list(table) == ["PCK@0.2_better_sides", *LSP.keypoints]
    assert all(math.isnan(value) for value in table.values())


def test_persons_that_no_detection_overlaps_have_no_correct_keypoint(dataset, caplog):
    ground_truth = random_ground_truth(np.random.default_rng(0), LSP)
    evaluator = PCKEvaluator(dataset(ground_truth, "many", LSP, format="pck"), LSP)
    with caplog.at_level(logging.INFO, logger="posecore"):
        metrics = evaluator.evaluate()
    assert {value for value in metrics["pck"].values() if not math.isnan(value)} == {0}
    assert metrics["keypoints"]["AP"] == metrics["keypoints"]["AP_assigned"] == 0
    torsos = pck_ground_truth(evaluator._people(), LSP).torsos
    assert f"{(torsos == 0).sum()} of {len(torsos)} persons are left out" in caplog.text
    assert "each labeled person's pose is the one whose box overlaps the person's most" in caplog.text


def test_neither_ground_truth_nor_results_are_modified(dataset):
    rng = np.random.default_rng(0)
    ground_truth = random_ground_truth(rng, LSP)
    results = random_results(rng, ground_truth, LSP)
    evaluator = PCKEvaluator(dataset(ground_truth, "many", LSP, format="pck"), LSP)
    before = repr([evaluator.ground_truth, results])
    evaluator.metrics(results)
    assert repr([evaluator.ground_truth, results]) == before


def test_skeletons_without_a_torso_are_refused(dataset):
    ground_truth = random_ground_truth(np.random.default_rng(0), DOG)
    name = dataset(ground_truth, "dogs", format="pck")
    with pytest.raises(
        ValueError, match=r"'dogs' of format 'pck': skeleton 'dog' lacks left_shoulder, right_h"
    ):
        PCKEvaluator(name, DOG)
    bust = Skeleton("bust", TORSO[0], (), (), (0.1, 0.1))
    with pytest.raises(ValueError, match="skeleton 'bust' lacks right_shoulder, left_hip: PCK is measured"):
        torso_indices(bust)


def test_the_torso_is_found_by_name_in_any_order():
    turned = replace(
        LSP,
        keypoints=LSP.keypoints[::-1],
        sigmas=LSP.sigmas[::-1],
    )
    person = athlete()
    turned_person = {"keypoints": np.reshape(person["keypoints"], (14, 3))[::-1].ravel().tolist()}
    pose = own_pose(person) + 15.0
    tables, other = evaluate([person], [pose]), evaluate([turned_person], [pose[::-1]], turned)
    assert other == tables


def test_boxes_are_evaluated_on_request(dataset, tmp_path):
    ground_truth = random_ground_truth(np.random.default_rng(0), LSP)
    name = dataset(ground_truth, "many", LSP, format="pck")
    cfg = core_cfg("DATASETS.SKELETON", "lsp_14", "TEST.TASKS", '("keypoints", "bbox")')
    evaluator = PCKEvaluator.from_config(cfg, name, LSP, tmp_path)
    evaluator.process(images(ground_truth), perfect(ground_truth))
    assert list(evaluator.evaluate()) == ["pck", "pck_better_sides", "keypoints", "bbox"]


def evaluate_a_part(folder):
    """The first process takes everything, the second has no image."""
    from detectron2.utils import comm

    register("parts", Path(folder, "parts.json"), folder, LSP, format="pck")
    evaluator = PCKEvaluator("parts", LSP)
    if not comm.get_rank():
        evaluator.process(images(evaluator.ground_truth), perfect(evaluator.ground_truth))
    return evaluator.evaluate()


def test_two_processes_one_of_them_without_images(dataset, tmp_path):
    ground_truth = random_ground_truth(np.random.default_rng(0), LSP)
    evaluator = PCKEvaluator(dataset(ground_truth, "parts", LSP, format="pck"), LSP)
    evaluator.process(images(ground_truth), perfect(ground_truth))
    main, other = in_processes(evaluate_a_part, 2, str(tmp_path))
    assert main == {task: pytest.approx(table, nan_ok=True) for task, table in evaluator.evaluate().items()}
    assert other == {}


@pytest.fixture
def photographs(shared):
    """Leeds Sports Pose extended as the shared data have it."""
    folder = shared / "data" / "lspet"
    if not (folder / "test.json").is_file():
        pytest.skip(f"no {folder / 'test.json'}")
    register("photographs", folder / "test.json", folder / "images", LSP, format="pck")
    return "photographs"


def shifted(record, offset, flip=False):
    """A record's ground truth as detections, moved by so many pixels, and a larger box of somebody else."""
    (person,) = record["annotations"]
    own = np.reshape(person["keypoints"], (14, 3)) * (1, 1, 0) + np.array([*offset, 1])
    own = own[list(LSP.flip_indices)] if flip else own
    x, y, width, height = person["bbox"]
    boxes = [[x, y, x + width, y + height], [x - 400, y - 400, x + width + 400, y + height + 400]]
    return {"instances": instances(np.stack([own, own + np.array([1000, 1000, 0])]), boxes=boxes)}


def test_photographs(photographs, tmp_path):
    records = load_dataset(photographs, LSP)
    assert len(records) == 1000
    assert all(len(record["annotations"]) == 1 and Path(record["file_name"]).is_file() for record in records)
    cfg = core_cfg(
        *("DATASETS.SKELETON", "lsp_14", "DATASETS.TEST", (photographs,), "OUTPUT_DIR", str(tmp_path)),
        *("TEST.NUM_PREVIEWS", 0),
    )
    evaluator = build_evaluator(cfg, photographs)

    def metrics(offset, flip=False):
        evaluator.reset()
        evaluator.process(records, [shifted(record, offset, flip) for record in records])
        return evaluator.evaluate()

    own = metrics((0, 0))
    assert set(own["pck"].values()) == set(own["pck_better_sides"].values()) == {100}
    assert own["keypoints"]["AP_assigned"] == pytest.approx(100)
    assert own["keypoints"]["AP"] < 100, "the pose of somebody else is a false positive of the same score"
    # 8 pixels off, a person's keypoints are all correct or all wrong, by the length of the torso.
    people = [record["annotations"][0] for record in records]
    for offset, flip in (((8.0, 0.0), False), ((0.0, 0.0), True)):
        found = metrics(offset, flip)
        poses = [np.reshape(person["keypoints"], (14, 3))[:, :2] for person in people]
        poses = [(pose[list(LSP.flip_indices)] if flip else pose) + offset for pose in poses]
        expected = oracle(people, poses, LSP)
        assert {task: found[task] for task in expected} == {
            task: pytest.approx(table, abs=0.1) for task, table in expected.items()
        }
        assert 10 < found["pck"]["PCK@0.2"] < 99
    assert found["pck_better_sides"]["PCK@0.2_better_sides"] == 100
