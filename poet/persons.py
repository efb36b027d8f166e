"""The persons of a batch, as targets. Letters: N images, P persons in all of them, K keypoints."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, fields
from typing import Any

import torch
from detectron2.structures import Instances
from torch import Tensor

from poet.codec import Poses, centers_of_mass, encode
from posecore.structures.instances import keypoint_tensors

# (P, K, 3) keypoints in pixels and (P, K) which of them are visible -> (P,) classes.
Labels = Callable[[Tensor, Tensor], Tensor]


@dataclass(frozen=True)
class Persons:
    """P persons, image by image.

    Attributes:
        poses: P of them; visibilities are 0 or 1.
        posed: (P,) bool, whether any keypoint is visible. Nobody asks for the pose of the others.
        labels: (P,) int64 class.
        images: (P,) int64 image of each.
        sizes: (P, 2) its width and height, pixels.
        areas: (P,) areas of the persons' boxes, square pixels.
    """

    poses: Poses
    posed: Tensor
    labels: Tensor
    images: Tensor
    sizes: Tensor
    areas: Tensor

    def __len__(self) -> int:
        return len(self.images)

    def __getitem__(self, index: Any) -> "Persons":
        return Persons(*(getattr(self, field.name)[index] for field in fields(self)))


def gather_persons(
    targets: Sequence[Instances], num_keypoints: int, *, least_visibility: int, label: Labels
) -> Persons:
    """The persons of N images.

    Args:
        targets: per image gt_boxes, and gt_keypoints where it has persons.
        num_keypoints: K.
        least_visibility: flag from which a keypoint counts as visible.
        label: the class of each.
    """
    device = targets[0].gt_boxes.device
    owners = [image for image, target in enumerate(targets) for _ in range(len(target))]
    images = torch.tensor(owners, dtype=torch.int64, device=device)
    sizes = torch.tensor([target.image_size[::-1] for target in targets], device=device)[images]
    keypoints = torch.cat(keypoint_tensors(targets, num_keypoints))
    visible = keypoints[..., 2] >= least_visibility
    return Persons(
        poses=encode(keypoints, sizes, visible),
        posed=visible.any(dim=1),
        labels=label(keypoints, visible),
        images=images,
        sizes=sizes,
        areas=torch.cat([target.gt_boxes.area() for target in targets]),
    )


def one_class(keypoints: Tensor, visible: Tensor) -> Tensor:
    """Every person is of class 0, as in the paper."""
    return torch.zeros_like(visible[:, 0], dtype=torch.int64)


def official_classes(keypoints: Tensor, visible: Tensor) -> Tensor:
    """Class 1, but class 0 where dx + dy of the first keypoint, the nose, from the center is exactly zero.

    Meant for persons without keypoints, this also hits those of whom the nose alone is visible.
    """
    offsets = keypoints[:, 0, :2] - centers_of_mass(keypoints, visible)
    return (offsets.sum(dim=1) != 0).long()
