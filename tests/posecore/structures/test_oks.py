"""OKS against pycocotools, and suppression by it."""

import contextlib
import io

import numpy as np
import pytest
import torch
from pycocotools.coco import COCO
from pycocotools.cocoeval import COCOeval

from posecore.structures.oks import oks, oks_nms


def pycocotools_oks(poses, ground_truth, areas, sigmas, visible):
    """(A, B), by COCOeval on one image."""
    coco = COCO()
    num_keypoints = len(sigmas)
    people = [
        {
            "id": index + 1,
            "image_id": 1,
            "category_id": 1,
            "iscrowd": 0,
            "area": areas[index],
            "bbox": [0, 0, 1, 1],
            "num_keypoints": int(visible[index].sum()),
            "keypoints": np.column_stack([ground_truth[index], 2 * visible[index]]).reshape(-1).tolist(),
        }
        for index in range(len(ground_truth))
    ]
    coco.dataset = {"images": [{"id": 1}], "categories": [{"id": 1}], "annotations": people}
    results = [
        {
            "image_id": 1,
            "category_id": 1,
            "score": 1 - index / 100,
            "keypoints": np.column_stack([pose, np.ones(num_keypoints)]).reshape(-1).tolist(),
        }
        for index, pose in enumerate(poses)
    ]
    with contextlib.redirect_stdout(io.StringIO()):
        coco.createIndex()
        evaluation = COCOeval(coco, coco.loadRes(results), "keypoints")
    evaluation.params.kpt_oks_sigmas = np.asarray(sigmas)
    evaluation._prepare()
    return evaluation.computeOks(1, 1)


@pytest.mark.parametrize("num_keypoints", [1, 5, 17])
def test_equals_pycocotools(num_keypoints):
    rng = np.random.default_rng(num_keypoints)
    ground_truth = rng.uniform(0, 200, (4, num_keypoints, 2))
    poses = np.concatenate([ground_truth, ground_truth[:3]]) + rng.normal(0, 8, (7, num_keypoints, 2))
    areas = rng.uniform(100, 20000, 4)
    sigmas = rng.uniform(0.02, 0.12, num_keypoints)
    visible = rng.random((4, num_keypoints)) < 0.7
    visible[:, 0] = True
    expected = pycocotools_oks(poses, ground_truth, areas, sigmas, visible)
    ours = oks(*map(torch.from_numpy, (poses, ground_truth, areas, sigmas, visible)))
    assert ours.shape == (7, 4)
    np.testing.assert_allclose(ours.numpy(), expected, rtol=1e-9, atol=1e-12)
    assert expected.max() > 0.3


def test_a_pose_agrees_with_itself_and_with_nobody_unlabeled():
    pose = torch.rand(2, 3, 2) * 100
    visible = torch.tensor([[True, True, True], [False, False, False]])
    values = oks(pose, pose, torch.tensor([50.0, 50.0]), torch.full((3,), 0.05), visible)
    assert values[0, 0] == 1
    assert values[:, 1].tolist() == [0, 0]


def test_no_poses():
    assert oks(
        torch.zeros(0, 3, 2), torch.zeros(2, 3, 2), torch.ones(2), torch.ones(3), torch.ones(2, 3)
    ).shape == (0, 2)
    assert oks_nms(torch.zeros(0, 3, 2), torch.zeros(0), torch.zeros(0), torch.ones(3), 0.5).tolist() == []


def test_nms_keeps_the_best_of_near_copies():
    pose = torch.rand(1, 5, 2, generator=torch.Generator().manual_seed(0)) * 100
    poses = torch.cat([pose + 0.5, pose + 500, pose, pose + 1])
    scores = torch.tensor([0.3, 0.2, 0.9, 0.8])
    kept = oks_nms(poses, scores, torch.full((4,), 5000.0), torch.full((5,), 0.07), 0.7)
    assert kept.tolist() == [2, 1]


def test_nms_is_greedy():
    """The middle of three in a row falls to the first, so it cannot suppress the last."""
    pose = torch.zeros(1, 1, 2)
    poses = torch.cat([pose, pose + 6, pose + 12])
    arguments = (torch.tensor([0.9, 0.8, 0.7]), torch.full((3,), 1000.0), torch.tensor([0.1]))
    assert oks_nms(poses, *arguments, threshold=0.1).tolist() == [0, 2]
    assert oks_nms(poses, *arguments, threshold=0.9).tolist() == [0, 1, 2]


def test_nms_compares_at_the_mean_area():
    poses = torch.tensor([[[0.0, 0.0]], [[10.0, 0.0]]])
    scores, sigmas = torch.tensor([0.9, 0.8]), torch.tensor([0.1])
    value = torch.exp(torch.tensor(-100 / (2 * 0.04 * 2000.0))).item()
    areas = torch.tensor([1000.0, 3000.0])
    assert oks_nms(poses, scores, areas, sigmas, value + 0.01).tolist() == [0, 1]
    assert oks_nms(poses, scores, areas, sigmas, value - 0.01).tolist() == [0]
