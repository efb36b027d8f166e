"""What the official code computes differently, at its edges."""

import torch
from helpers.set_prediction import persons_of, predictions, targets
from torch.testing import assert_close

from poet.official import OfficialMatcher, official_classes
from posecore.modeling.set_prediction.classification import softmax_cost
from posecore.modeling.set_prediction.costs import (
    WeightedCost,
    center_cost,
    keypoint_cost,
    visibility_distance_cost,
)
from posecore.modeling.set_prediction.matcher import HungarianMatcher


def test_official_classes() -> None:
    """No keypoints; the nose alone; hidden ones alone, the nose not labeled; somebody."""
    keypoints = torch.zeros(4, 17, 3)
    keypoints[1, 0] = torch.tensor([33.3, 77.7, 2.0])
    keypoints[2, 5] = torch.tensor([10.0, 20.0, 1.0])
    keypoints[3] = torch.tensor([30.0, 60.0, 2.0])
    keypoints[3, 4, 0] = 50.0
    assert official_classes(keypoints, keypoints[..., 2] >= 2).tolist() == [0, 0, 0, 1]


def test_the_official_mistake_changes_only_what_visibilities_cost() -> None:
    people = targets(2)
    people[0].gt_keypoints.tensor[1, :, 2] = 0
    persons = persons_of(people)
    found = predictions(1, 1, 4)
    costs = [WeightedCost(visibility_distance_cost, 1.0)]
    right = HungarianMatcher(softmax_cost, costs).total_pose_costs(found.poses, persons)[0]
    wrong = OfficialMatcher(softmax_cost, costs).total_pose_costs(found.poses, persons)[0]
    # Person 1 has no keypoints: it pays, and query 1 is taken to see nothing.
    assert (right[1] == 0).all()
    assert_close(wrong[1, [0, 2, 3]], found.poses.visibility[0, 0, [0, 2, 3]].norm(dim=1))
    assert wrong[1, 1] == 0
    assert_close(wrong[0, 1], persons.poses.visibility[0].norm())
    assert_close(wrong[0, [0, 2, 3]], right[0, [0, 2, 3]])
    without = [WeightedCost(keypoint_cost, 1.0), WeightedCost(center_cost, 1.0)]
    assert_close(
        OfficialMatcher(softmax_cost, without).total_pose_costs(found.poses, persons),
        HungarianMatcher(softmax_cost, without).total_pose_costs(found.poses, persons),
    )
