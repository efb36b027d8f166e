"""What the official code (amathislab/poet) computes differently: ``OfficialMatcher`` and its classes.

Letters: L decoder layers, N images, Q queries, P persons in all images, K keypoints.
"""

from dataclasses import replace

import torch
from torch import Tensor

from posecore.modeling.set_prediction.costs import visibility_distance_cost
from posecore.modeling.set_prediction.matcher import HungarianMatcher
from posecore.modeling.set_prediction.persons import PersonClasses, Persons
from posecore.modeling.set_prediction.poses import Poses, centers_of_mass


class OfficialMatcher(HungarianMatcher):
    """The matcher with the official code's mistake, for comparisons: indices of persons hit predictions.

    Where the j-th person of the batch has no visible keypoint, the visibilities of the j-th query of the
    batch are taken for 0 in every comparison, and the person still costs the predicted visibilities.
    """

    def total_pose_costs(self, poses: Poses, persons: Persons) -> Tensor:  # type: ignore[override]
        """(L, N, Q) poses and P persons -> (L, P, Q)."""
        mistaken = (~persons.any_visible).nonzero()[:, 0]
        num_queries = poses.visibility.shape[2]
        visibility = poses.visibility.clone()
        visibility[:, mistaken // num_queries, mistaken % num_queries] = 0
        altered_poses = replace(poses, visibility=visibility)[:, persons.images]
        altered_persons = replace(persons, any_visible=torch.ones_like(persons.any_visible))[:, None]
        candidates = poses[:, persons.images]
        total = visibility.new_zeros(visibility.shape[0], len(persons), num_queries)
        for cost in self.pose_costs:
            if cost.cost is visibility_distance_cost:
                total = total + cost(altered_poses, altered_persons)
            else:
                total = total + cost(candidates, persons[:, None])
        return total


def official_classes(keypoints: Tensor, visible: Tensor) -> Tensor:
    """Class 1, but class 0 where dx + dy of the first keypoint, the nose, from the center is exactly zero.

    Meant for persons without keypoints, class 0 also gets those of whom the nose alone is visible.

    Args:
        keypoints: (P, K, 3), pixels.
        visible: (P, K) bool.

    Returns:
        (P,) int64.
    """
    offsets = keypoints[:, 0, :2] - centers_of_mass(keypoints, visible)
    return (offsets.sum(dim=1) != 0).long()


OFFICIAL_CLASSES = PersonClasses(2, official_classes)
