"""Made-up persons and predictions with K = 3 keypoints, and checks of official stages, for set prediction."""

from typing import Protocol

import torch
from detectron2.data import transforms as T
from detectron2.structures import ImageList, Instances
from torch import Tensor

from helpers.image_samples import sample
from posecore.data.mapper import PoseMapper, annotated_boxes
from posecore.modeling.set_prediction.persons import Persons, gather_persons, one_class
from posecore.modeling.set_prediction.poses import Poses
from posecore.modeling.set_prediction.predictions import Predictions
from posecore.structures.skeleton import load_skeleton

K = 3


def targets(*counts: int, size: tuple[int, int] = (96, 128)) -> list[Instances]:
    """The persons of images, ``counts`` per image."""
    return [sample(seed, count, size, K)["instances"] for seed, count in enumerate(counts)]


def persons_of(people: list[Instances], min_visibility: int = 1) -> Persons:
    """The persons of images, all of one class."""
    return gather_persons(people, K, min_visibility=min_visibility, labels=one_class)


def poses(*shape: int) -> Poses:
    """Random poses with gradients."""
    return Poses(
        torch.rand(*shape, 2, requires_grad=True),
        (2 * torch.rand(*shape, K, 2) - 1).requires_grad_(),
        torch.rand(*shape, K, requires_grad=True),
    )


def predictions(layers: int, images: int, queries: int, num_logits: int = 2) -> Predictions[Poses]:
    """Random predictions with gradients; two logits are a person and "no object"."""
    logits = torch.randn(layers, images, queries, num_logits, requires_grad=True)
    return Predictions(logits, poses(layers, images, queries))


class StoredNumbers(Protocol):
    """The numbers of a case, by name."""

    def check(self, name: str, values: Tensor) -> None:
        """Compares values with the stored ones."""


def check_batching(case: StoredNumbers, images: ImageList) -> None:
    """The official code pads two images, and normalizes them, as we do."""
    padding = torch.ones(2, *images.tensor.shape[2:], dtype=torch.bool)
    for mask, (height, width) in zip(padding, images.image_sizes, strict=True):
        mask[:height, :width] = False
    case.check("input_mask", padding)
    case.check("input_row_sum", images.tensor.sum(dim=3))


def moved(keypoints: Tensor, transform: T.Transform, size: tuple[int, int]) -> Tensor:
    """What our mapper makes of keypoints that a transform moves into an image of (height, width)."""
    mapper = PoseMapper(
        labeled=True,
        augmentations=[],
        skeleton=load_skeleton("coco_17"),
        boxes=annotated_boxes,
        image_format="RGB",
    )
    return torch.from_numpy(mapper._move(keypoints.double().numpy().copy(), transform, size)).float()
