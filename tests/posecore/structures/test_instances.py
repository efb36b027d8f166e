"""The ground truth of a batch, with and without persons."""

import torch
from detectron2.structures import Boxes, Instances
from helpers.image_samples import sample

from posecore.structures.instances import keypoint_tensors


def test_every_image_has_keypoints_of_the_same_shape() -> None:
    some = sample(0, 2, num_keypoints=5)["instances"]
    nobody = Instances((96, 128), gt_boxes=Boxes(torch.zeros(0, 4)))
    first, second = keypoint_tensors([some, nobody], 5)
    assert torch.equal(first, some.gt_keypoints.tensor)
    assert second.shape == (0, 5, 3)
