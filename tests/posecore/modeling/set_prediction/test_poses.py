"""Poses in units of their image, and the way there from keypoints in pixels."""

import torch
from helpers.set_prediction import poses
from torch.testing import assert_close

from posecore.modeling.set_prediction.poses import Poses, centers_of_mass, poses_from_keypoints


def test_keypoints_become_poses_and_keypoints_again() -> None:
    sizes = torch.tensor([[640.0, 480.0], [333.0, 500.0]])
    keypoints = torch.rand(2, 17, 2) * sizes[:, None]
    found = poses_from_keypoints(keypoints, sizes, torch.ones(2, 17, dtype=torch.bool))
    assert_close(found.keypoints * sizes[:, None], keypoints)


def test_the_center_is_the_mean_of_what_is_visible() -> None:
    keypoints = torch.tensor([[[10.0, 20.0], [30.0, 40.0], [float("nan"), 900.0]]])
    visible = torch.tensor([[True, True, False]])
    assert_close(centers_of_mass(keypoints, visible), torch.tensor([[20.0, 30.0]]))
    found = poses_from_keypoints(keypoints, torch.tensor([[100.0, 200.0]]), visible)
    assert_close(found.centers, torch.tensor([[0.2, 0.15]]))
    assert_close(found.offsets[0, :2], torch.tensor([[-0.1, -0.05], [0.1, 0.05]]))
    assert found.visibility.tolist() == [[1, 1, 0]]
    assert found.offsets.isfinite().all()


def test_nobody_and_nothing_visible() -> None:
    nobody = poses_from_keypoints(torch.zeros(0, 17, 3), torch.zeros(0, 2), torch.zeros(0, 17).bool())
    assert nobody.centers.shape == (0, 2)
    hidden = torch.zeros(1, 5, dtype=torch.bool)
    found = poses_from_keypoints(torch.rand(1, 5, 3), torch.tensor([[8.0, 9.0]]), hidden)
    assert found.centers.tolist() == [[0, 0]]
    assert found.visibility.sum() == 0


def test_indexing_takes_whole_poses() -> None:
    every = poses(2, 3, 4)
    some = every[torch.tensor([0, 1]), torch.tensor([2, 2]), torch.tensor([3, 0])]
    assert isinstance(some, Poses)
    assert torch.equal(some.offsets[1], every.offsets[1, 2, 0])
    assert every[:, None].centers.shape == (2, 1, 3, 4, 2)
