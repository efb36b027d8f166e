"""The ground-truth persons of a batch as targets of set prediction: the dataclass ``Persons``.

Letters: N images, P persons in all of them, K keypoints.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import torch
from detectron2.structures import Instances
from torch import Tensor

from posecore.modeling.set_prediction.poses import Poses, TensorFields, poses_from_keypoints
from posecore.structures.instances import keypoint_tensors

# The persons of an image -> (G,) their areas, square pixels.
AreaRule = Callable[[Instances], Tensor]

# (P, K, 3) keypoints in pixels and (P, K) which of them are visible -> (P,) int64 classes.
Labeler = Callable[[Tensor, Tensor], Tensor]


@dataclass(frozen=True)
class Persons(TensorFields):
    """P persons, image by image.

    Attributes:
        poses: P poses; visibilities are 0 or 1.
        any_visible: (P,) bool, whether any keypoint is visible. The others have no pose to be learned.
        labels: (P,) int64 class.
        images: (P,) int64 index of the image.
        sizes: (P, 2), width and height of the image, pixels.
        areas: (P,), areas of the persons, square pixels.
    """

    poses: Poses
    any_visible: Tensor
    labels: Tensor
    images: Tensor
    sizes: Tensor
    areas: Tensor

    def __len__(self) -> int:
        return len(self.images)


@dataclass(frozen=True)
class PersonClasses:
    """The classes that persons are divided into.

    Attributes:
        num_classes: their number, without "no object".
        labels: gives each person its class.
    """

    num_classes: int
    labels: Labeler


def box_areas(target: Instances) -> Tensor:
    """The areas of the persons' boxes."""
    return target.gt_boxes.area()


def annotated_areas(target: Instances) -> Tensor:
    """The annotated areas, by which COCO evaluates; those of the boxes where there are no others."""
    return target.gt_areas if target.has("gt_areas") else box_areas(target)


def gather_persons(
    targets: Sequence[Instances],
    num_keypoints: int,
    *,
    min_visibility: int,
    labels: Labeler,
    areas: AreaRule = box_areas,
) -> Persons:
    """The persons of N images.

    Args:
        targets: per image gt_boxes, and gt_keypoints where it has persons.
        num_keypoints: K.
        min_visibility: COCO's flag from which a keypoint counts as visible, 1 or 2.
        labels: gives each person its class.
        areas: gives each person its area.
    """
    device = targets[0].gt_boxes.device
    indices = [image for image, target in enumerate(targets) for _ in range(len(target))]
    images = torch.tensor(indices, dtype=torch.int64, device=device)
    sizes = torch.tensor([target.image_size[::-1] for target in targets], device=device)[images]
    keypoints = torch.cat(keypoint_tensors(targets, num_keypoints))
    visible = keypoints[..., 2] >= min_visibility
    return Persons(
        poses=poses_from_keypoints(keypoints, sizes, visible),
        any_visible=visible.any(dim=1),
        labels=labels(keypoints, visible),
        images=images,
        sizes=sizes,
        areas=torch.cat([areas(target) for target in targets]),
    )


def one_class(keypoints: Tensor, visible: Tensor) -> Tensor:
    """Class 0 for every person."""
    return torch.zeros_like(visible[:, 0], dtype=torch.int64)


ONE_CLASS = PersonClasses(1, one_class)
