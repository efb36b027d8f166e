"""Made-up persons and predictions with K = 3 keypoints, for the tests of set prediction."""

import torch
from detectron2.structures import Instances

from helpers.image_samples import sample
from posecore.modeling.set_prediction.persons import Persons, gather_persons, one_class
from posecore.modeling.set_prediction.poses import Poses
from posecore.modeling.set_prediction.predictions import Predictions

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
