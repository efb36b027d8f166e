"""The output vector: what it holds, and that nothing is lost on the way there and back."""

import pytest
import torch
from torch.testing import assert_close

from poet.codec import PoseCodec, Poses, centers_of_mass, encode


@pytest.mark.parametrize("num_keypoints", [1, 5, 17, 133])
def test_vectors_become_poses_and_vectors_again(num_keypoints: int) -> None:
    codec = PoseCodec(num_keypoints)
    vectors = torch.rand(2, 3, 4, codec.num_values)
    poses = codec.split(vectors)
    assert poses.centers.shape == (2, 3, 4, 2)
    assert poses.offsets.shape == (2, 3, 4, num_keypoints, 2)
    assert poses.visibility.shape == (2, 3, 4, num_keypoints)
    assert_close(codec.join(poses), vectors)


def test_the_layout_of_the_paper() -> None:
    vector = torch.tensor([0.1, 0.2, 0.5, 0.75, 0.9, 0.0, 1.0, 0.3])
    poses = PoseCodec(2).split(vector)
    assert_close(poses.centers, torch.tensor([0.1, 0.2]))
    assert_close(poses.offsets, torch.tensor([[0.0, 0.5], [-1.0, 1.0]]))
    assert_close(poses.visibility, torch.tensor([0.9, 0.3]))
    assert_close(poses.keypoints, torch.tensor([[0.1, 0.7], [-0.9, 1.2]]))


def test_persons_become_poses_and_persons_again() -> None:
    sizes = torch.tensor([[640.0, 480.0], [333.0, 500.0]])
    keypoints = torch.rand(2, 17, 2) * sizes[:, None]
    poses = encode(keypoints, sizes, torch.ones(2, 17, dtype=torch.bool))
    assert_close(poses.keypoints * sizes[:, None], keypoints)
    codec = PoseCodec(17)
    assert_close(codec.split(codec.join(poses)).keypoints * sizes[:, None], keypoints)


def test_the_center_is_the_mean_of_what_is_visible() -> None:
    keypoints = torch.tensor([[[10.0, 20.0], [30.0, 40.0], [float("nan"), 900.0]]])
    visible = torch.tensor([[True, True, False]])
    assert_close(centers_of_mass(keypoints, visible), torch.tensor([[20.0, 30.0]]))
    poses = encode(keypoints, torch.tensor([[100.0, 200.0]]), visible)
    assert_close(poses.centers, torch.tensor([[0.2, 0.15]]))
    assert_close(poses.offsets[0, :2], torch.tensor([[-0.1, -0.05], [0.1, 0.05]]))
    assert poses.visibility.tolist() == [[1, 1, 0]]
    assert poses.offsets.isfinite().all()


def test_nobody_and_nothing_visible() -> None:
    assert encode(torch.zeros(0, 17, 3), torch.zeros(0, 2), torch.zeros(0, 17).bool()).centers.shape == (0, 2)
    poses = encode(torch.rand(1, 5, 3), torch.tensor([[8.0, 9.0]]), torch.zeros(1, 5, dtype=torch.bool))
    assert poses.centers.tolist() == [[0, 0]]
    assert poses.visibility.sum() == 0


def test_indexing_takes_whole_poses() -> None:
    poses = PoseCodec(5).split(torch.rand(2, 3, 4, 17))
    some = poses[torch.tensor([0, 1]), torch.tensor([2, 2]), torch.tensor([3, 0])]
    assert isinstance(some, Poses)
    assert torch.equal(some.offsets[1], poses.offsets[1, 2, 0])
    assert poses[:, None].centers.shape == (2, 1, 3, 4, 2)
