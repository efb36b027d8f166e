"""Boxes around poses."""

import torch

from posecore.structures.boxes import enclosing_boxes, keypoint_boxes


def test_enclosing_boxes_of_any_batch_shape():
    points = torch.tensor([[3.0, 1.0], [0.5, 2.0], [2.0, 7.0]])
    assert enclosing_boxes(points).tolist() == [0.5, 1.0, 3.0, 7.0]
    assert enclosing_boxes(points.expand(2, 5, 3, 2)).shape == (2, 5, 4)
    assert enclosing_boxes(torch.zeros(0, 17, 2)).shape == (0, 4)


def test_keypoint_boxes_ignore_unlabeled_keypoints_and_add_the_margin():
    keypoints = torch.tensor([[[10.5, 20.5, 2], [30.5, 5.5, 1], [99.0, 99.0, 0]]])
    assert keypoint_boxes(keypoints, 1, (100, 200)).tolist() == [[9.5, 4.5, 31.5, 21.5]]
    assert keypoint_boxes(keypoints, 0, (100, 200)).tolist() == [[10.5, 5.5, 30.5, 20.5]]


def test_keypoint_boxes_stay_in_the_image():
    keypoints = torch.tensor([[[0.5, 0.5, 2], [199.5, 99.5, 2.0]]])
    assert keypoint_boxes(keypoints, 1, (100, 200)).tolist() == [[0, 0, 200, 100]]


def test_keypoints_beyond_the_image_have_empty_boxes_at_its_rim():
    keypoints = torch.tensor([[[300.0, 50, 2]], [[50, -20, 2]]])
    assert keypoint_boxes(keypoints, 1, (100, 200)).tolist() == [[200, 49, 200, 51], [49, 0, 51, 0]]


def test_one_keypoint_makes_a_box_of_twice_the_margin():
    keypoints = torch.tensor([[[50.5, 40.5, 1], [0.5, 0.5, 0]]])
    assert keypoint_boxes(keypoints, 1, (100, 100)).tolist() == [[49.5, 39.5, 51.5, 41.5]]


def test_persons_without_labels_get_empty_boxes():
    keypoints = torch.tensor([[[50.5, 40.5, 0.0]], [[50.5, 40.5, 1.0]]])
    assert keypoint_boxes(keypoints, 1, (100, 100))[0].tolist() == [0, 0, 0, 0]
    assert keypoint_boxes(torch.zeros(0, 17, 3), 1, (10, 10)).shape == (0, 4)
