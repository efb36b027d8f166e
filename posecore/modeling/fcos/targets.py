"""The ground truth of a batch at the locations: one matched index, and gathers from it."""

from dataclasses import dataclass

import torch
from detectron2.structures import Instances
from torch import Tensor

from posecore.modeling.fcos.assign import BACKGROUND, assign
from posecore.modeling.fcos.locations import Locations
from posecore.modeling.fcos.ltrb import box_to_ltrb, centerness
from posecore.modeling.fcos.queries import Queries
from posecore.modeling.fcos.settings import Training
from posecore.structures.instances import keypoint_tensors


@dataclass(frozen=True)
class Positives:
    """The P positive locations of a batch, image by image, and the persons they belong to.

    Attributes:
        queries: where they are.
        points: (P, 2) of the locations, in pixels.
        strides: (P,) of the locations.
        persons: (P,) int64 index into the persons of the whole batch.
        boxes: (P, 4) corners.
        keypoints: (P, K, 3) in pixels.
    """

    queries: Queries
    points: Tensor
    strides: Tensor
    persons: Tensor
    boxes: Tensor
    keypoints: Tensor

    def __len__(self) -> int:
        return len(self.queries)


@dataclass(frozen=True)
class Targets:
    """What the detector should say.

    Attributes:
        positive: (N, R) bool, which locations see a person.
        positives: the ground truth at those P locations.
        ltrb: (P, 4) their distances to the sides of the box, in pixels.
        centerness: (P,).
    """

    positive: Tensor
    positives: Positives
    ltrb: Tensor
    centerness: Tensor


def make_targets(
    locations: Locations, targets: list[Instances], num_keypoints: int, how: Training
) -> Targets:
    """Matches the locations to the persons of each image.

    Args:
        locations: the R locations.
        targets: per image gt_boxes, and gt_keypoints where it has persons.
        num_keypoints: K.
        how: radius and size ranges.
    """
    matched = torch.stack(
        [
            assign(locations, target.gt_boxes.tensor, radius=how.center_radius, ranges=how.size_ranges)
            for target in targets
        ]
    )
    positives = gather_positives(matched, locations, targets, num_keypoints)
    ltrb = box_to_ltrb(positives.points, positives.boxes)
    return Targets(matched != BACKGROUND, positives, ltrb, centerness(ltrb))


def gather_positives(
    matched: Tensor, locations: Locations, targets: list[Instances], num_keypoints: int
) -> Positives:
    """The ground truth at every matched location.

    Args:
        matched: (N, R) index of the person within its image, -1 for background.
        locations: the R locations.
        targets: per image gt_boxes, and gt_keypoints where it has persons.
        num_keypoints: K.
    """
    images, index = (matched != BACKGROUND).nonzero(as_tuple=True)
    first = torch.tensor([0] + [len(target) for target in targets], device=matched.device).cumsum(0)
    persons = matched[images, index] + first[images]
    boxes = torch.cat([target.gt_boxes.tensor for target in targets])
    keypoints = torch.cat(keypoint_tensors(targets, num_keypoints))
    return Positives(
        Queries(images, index),
        locations.points[index],
        locations.strides[index],
        persons,
        boxes[persons],
        keypoints[persons],
    )
