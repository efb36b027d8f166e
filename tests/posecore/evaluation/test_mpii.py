"""PCKh against a plain restatement, and how poses come to persons."""

import json
import logging
import math

import numpy as np
import pytest
import scipy.io
from helpers.coco_annotations import instances
from helpers.processes import in_processes
from PIL import Image

from posecore.data import load_dataset, register
from posecore.evaluation import MPIIEvaluator
from posecore.evaluation.mpii import MPIIGroundTruth, pckh, read_mpii_ground_truth
from posecore.structures.skeleton import Skeleton, load_skeleton

MPII = load_skeleton("mpii_16")


def mpii_people(seed=0, count=6):
    """Persons side by side in two images, in MPII's form; a fifth of their joints is missing."""
    rng = np.random.default_rng(seed)
    people = []
    for index in range(count):
        center = np.array([100.0 + 120 * (index // 2), 150.0])
        joints = np.round(center + rng.uniform(-60, 60, (16, 2)), 1)
        people.append(
            {
                "image": f"{index % 2}.png",
                "center": center.tolist(),
                "scale": round(rng.uniform(0.6, 0.9), 3),
                "joints": joints.tolist(),
                "joints_vis": (rng.uniform(size=16) < 0.8).astype(int).tolist(),
            }
        )
    return people


def ground_truth(people, seed=0):
    """The content of mpii_gt_val.mat for these persons."""
    rng = np.random.default_rng(seed)
    corners = rng.uniform(50, 100, (2, len(people)))
    return {
        "headboxes_src": np.stack([corners, corners + rng.uniform(15, 40, corners.shape)]),
        "jnt_missing": 1 - np.array([person["joints_vis"] for person in people]).T,
        "pos_gt_src": np.array([person["joints"] for person in people]).transpose(1, 2, 0),
    }


@pytest.fixture
def mpii(dataset, tmp_path):
    """Registers persons with their images and ground truth; returns the name."""

    def add(people, matrices):
        for name in {person["image"] for person in people}:
            Image.new("L", (500, 300)).save(tmp_path / name)
        scipy.io.savemat(tmp_path / "gt.mat", matrices)
        return dataset(people, "mpii_few", MPII, format="mpii", ground_truth=tmp_path / "gt.mat")

    return add


def oracle(people, matrices, poses):
    """The official arithmetic, in loops; poses (N, 16, 2) count pixels from 0."""
    counts, right, strict = np.zeros(16), np.zeros(16), np.zeros(16)
    for n in range(len(people)):
        (x1, y1), (x2, y2) = matrices["headboxes_src"][:, :, n]
        head = 0.6 * math.hypot(x2 - x1, y2 - y1)
        for k in range(16):
            if not matrices["jnt_missing"][k, n]:
                x, y = poses[n, k] + 1
                gx, gy = matrices["pos_gt_src"][k, :, n]
                error = math.hypot(x - gx, y - gy) / head
                counts[k] += 1
                right[k] += error <= 0.5
                strict[k] += error <= 0.1
    share = 100 * right / counts
    weights = np.where([k in (6, 7) for k in range(16)], 0, counts)
    weights = weights / weights.sum()
    return {
        "Head": share[9],
        "Shoulder": (share[12] + share[13]) / 2,
        "Elbow": (share[11] + share[14]) / 2,
        "Wrist": (share[10] + share[15]) / 2,
        "Hip": (share[2] + share[3]) / 2,
        "Knee": (share[1] + share[4]) / 2,
        "Ankle": (share[0] + share[5]) / 2,
        "Mean": (share * weights).sum(),
        "PCKh@0.1": (100 * strict / counts * weights).sum(),
    }


def predictions(records, offsets, shuffled=False):
    """What a top-down model returns: for each image its persons' boxes with poses off by so much.

    Args:
        offsets: (N, 16, 2), by the number of the annotation.
    """
    outputs = []
    for record in records:
        people = record["annotations"][:: -1 if shuffled else 1]
        keypoints = np.array([person["keypoints"] for person in people]).reshape(-1, 16, 3)
        keypoints[..., :2] += offsets[[person["id"] - 1 for person in people]]
        boxes = [[x, y, x + w, y + h] for x, y, w, h in (person["bbox"] for person in people)]
        outputs.append({"instances": instances(keypoints, boxes=np.array(boxes).reshape(-1, 4))})
    return outputs


def random_offsets(people, seed=0):
    rng = np.random.default_rng(seed)
    return rng.normal(size=(len(people), 16, 2)) * rng.choice([0.5, 8, 30], size=(len(people), 16, 1))


@pytest.mark.parametrize("shuffled", [False, True])
def test_the_table(mpii, tmp_path, shuffled):
    people = mpii_people()
    matrices, offsets = ground_truth(people), random_offsets(people)
    name = mpii(people, matrices)
    evaluator = MPIIEvaluator(name, MPII, output_dir=tmp_path / "out")
    records = load_dataset(name, MPII)
    for _ in range(2):  # a reset forgets the first round
        evaluator.reset()
        evaluator.process(records, predictions(records, offsets, shuffled))
        found = evaluator.evaluate()
    poses = np.array([person["joints"] for person in people]) - 1 + offsets
    assert found == {"pckh": pytest.approx(oracle(people, matrices, poses), abs=1e-6)}
    assert 10 < found["pckh"]["PCKh@0.1"] < found["pckh"]["Mean"] < 100, "the random case must say something"
    assert len(json.loads((tmp_path / "out" / "coco_instances_results.json").read_text())) == len(people)


def test_the_ground_truth_gets_full_marks(mpii):
    people = mpii_people(seed=1)
    name = mpii(people, ground_truth(people))
    evaluator = MPIIEvaluator(name, MPII)
    records = load_dataset(name, MPII)
    evaluator.process(records, predictions(records, np.zeros((len(people), 16, 2))))
    table = evaluator.evaluate()["pckh"]
    assert list(table.values()) == pytest.approx([100] * 9)


def test_who_is_not_found_has_no_correct_joint(mpii):
    people = mpii_people(seed=1)
    matrices = ground_truth(people)
    name = mpii(people, matrices)
    evaluator = MPIIEvaluator(name, MPII)
    records = load_dataset(name, MPII)
    outputs = predictions(records, np.zeros((len(people), 16, 2)))
    outputs[0]["instances"] = outputs[0]["instances"][:0]
    evaluator.process(records, outputs)
    poses = np.array([person["joints"] for person in people]) - 1
    poses[::2] = 1e9
    assert evaluator.evaluate()["pckh"] == pytest.approx(oracle(people, matrices, poses))
    evaluator.reset()
    assert set(evaluator.evaluate()["pckh"].values()) == {0.0}


def test_others_than_the_annotated_persons_are_of_no_account(mpii):
    people = mpii_people(seed=2)
    name = mpii(people, ground_truth(people))
    evaluator = MPIIEvaluator(name, MPII)
    records = load_dataset(name, MPII)
    outputs = predictions(records, np.zeros((len(people), 16, 2)))
    for output in outputs:
        found = output["instances"]
        stranger = instances(found.pred_keypoints[:1] + 300, boxes=np.array([[400.0, 200, 420, 230]]))
        output["instances"] = type(found).cat([stranger, found])
    evaluator.process(records, outputs)
    assert evaluator.evaluate()["pckh"]["Mean"] == pytest.approx(100)


def test_joints_that_nobody_has_and_other_skeletons():
    skeleton = Skeleton("arm", ("pelvis", "left_elbow", "right_elbow", "head_top", "tip"), (
        ("left_elbow", "right_elbow"),), (), (0.1,) * 5)  # fmt: skip
    present = np.array([[True, True, False, False, True]])
    ground_truth = MPIIGroundTruth(np.zeros((1, 5, 2)), present, np.array([10.0]))
    poses = np.array([[[99, 99], [-1, 4], [0, 0], [0, 0], [-1, 4.01]]], float)
    table = pckh(poses, ground_truth, skeleton.keypoints)
    assert table.keys() == {"Head", "Elbow", "Mean", "PCKh@0.1"}
    assert table["Elbow"] == 100, "half a head exactly is correct; the side that nobody has does not count"
    assert math.isnan(table["Head"])
    assert table["Mean"] == 50, "the pelvis does not count"
    assert table["PCKh@0.1"] == 0


def test_without_a_ground_truth_poses_are_only_written(mpii, dataset, tmp_path, caplog):
    people = mpii_people()
    mpii(people, ground_truth(people))
    name = dataset(people, "mpii_bare", MPII, format="mpii")
    evaluator = MPIIEvaluator(name, MPII, output_dir=tmp_path / "out")
    with caplog.at_level(logging.WARNING, logger="posecore"):
        assert evaluator.evaluate() == {}
    assert "mpii_bare has no ground_truth (mpii_gt_val.mat): the poses are not evaluated" in caplog.text
    assert (tmp_path / "out" / "coco_instances_results.json").is_file()


def test_one_person_alone(tmp_path):
    """MATLAB drops last axes of length 1."""
    people = mpii_people(count=1)
    matrices = {key: array[..., 0] for key, array in ground_truth(people).items()}
    matrices["jnt_missing"] = matrices["jnt_missing"][:, None]
    scipy.io.savemat(tmp_path / "gt.mat", matrices)
    found = read_mpii_ground_truth(tmp_path / "gt.mat", 1, 16)
    assert found.joints.tolist() == [people[0]["joints"]]
    assert found.present.tolist() == [[v == 1 for v in people[0]["joints_vis"]]]


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda m: m.pop("jnt_missing"), "has no jnt_missing"),
        (lambda m: m.update(pos_gt_src=m["pos_gt_src"][:, :, :5]), r"pos_gt_src is \(16, 2, 5\) instead of"),
        (lambda m: m.update(headboxes_src=0 * m["headboxes_src"]), r"headboxes_src of persons \[0, 1, 2"),
        (lambda m: m.update(headboxes_src=np.nan * m["headboxes_src"]), "headboxes_src of persons"),
        (
            lambda m: m.update(pos_gt_src=np.nan * m["pos_gt_src"]),
            r"pos_gt_src of persons \[0, 1, 2.* finite",
        ),
        (
            lambda m: m.update(pos_gt_src=m["pos_gt_src"].astype(object)),
            "pos_gt_src must be real numbers, not object",
        ),
    ],
)
def test_wrong_ground_truths_are_named(tmp_path, change, message):
    matrices = ground_truth(mpii_people())
    change(matrices)
    scipy.io.savemat(tmp_path / "gt.mat", matrices)
    with pytest.raises(ValueError, match=rf"gt\.mat:? {message}"):
        read_mpii_ground_truth(tmp_path / "gt.mat", 6, 16)


def test_files_that_are_something_else(tmp_path):
    with pytest.raises(FileNotFoundError, match=r"ground truth .*gt\.mat does not exist"):
        read_mpii_ground_truth(tmp_path / "gt.mat", 6, 16)
    (tmp_path / "gt.mat").write_text("no matrices")
    with pytest.raises(ValueError, match=r"gt\.mat is not a readable MATLAB file"):
        read_mpii_ground_truth(tmp_path / "gt.mat", 6, 16)


def evaluate_a_part(folder):
    """The first process takes everything, the second has no image."""
    from pathlib import Path

    from detectron2.utils import comm

    paths = {"json_file": Path(folder, "mpii.json"), "ground_truth": Path(folder, "gt.mat")}
    register("mpii_few", image_root=folder, skeleton=MPII, format="mpii", **paths)
    evaluator = MPIIEvaluator("mpii_few", MPII)
    records = [] if comm.get_rank() else load_dataset("mpii_few", MPII)
    evaluator.process(records, predictions(records, random_offsets(mpii_people())))
    return evaluator.evaluate()


def test_two_processes_one_of_them_without_images(tmp_path):
    people = mpii_people()
    matrices, offsets = ground_truth(people), random_offsets(people)
    for name in ("0.png", "1.png"):
        Image.new("L", (500, 300)).save(tmp_path / name)
    (tmp_path / "mpii.json").write_text(json.dumps(people))
    scipy.io.savemat(tmp_path / "gt.mat", matrices)
    main, other = in_processes(evaluate_a_part, 2, str(tmp_path))
    poses = np.array([person["joints"] for person in people]) - 1 + offsets
    assert main["pckh"] == pytest.approx(oracle(people, matrices, poses), abs=1e-6)
    assert other == {}
