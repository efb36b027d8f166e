"""The output vector: what it holds, and that nothing is lost on the way there and back."""

import pytest
import torch
from torch.testing import assert_close

from poet.codec import PoseCodec
from posecore.modeling.set_prediction.poses import poses_from_keypoints


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


def test_persons_become_vectors_and_persons_again() -> None:
    sizes = torch.tensor([[640.0, 480.0], [333.0, 500.0]])
    keypoints = torch.rand(2, 17, 2) * sizes[:, None]
    poses = poses_from_keypoints(keypoints, sizes, torch.ones(2, 17, dtype=torch.bool))
    codec = PoseCodec(17)
    assert_close(codec.split(codec.join(poses)).keypoints * sizes[:, None], keypoints)
