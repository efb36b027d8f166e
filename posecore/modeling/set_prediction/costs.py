"""Pose costs: how far predicted poses are from those of persons, for the matching and for the losses.

A pose cost takes poses and persons and gives a number for each pair of them. Their first dimensions
broadcast: (Q,) poses and (P, 1) persons give the (P, Q) costs of the matcher; (M,) and (M,) give the
losses of matched pairs. Persons without visible keypoints have no pose, so every cost of theirs is 0.

A new cost is a function here and a name in :func:`pose_costs`. A cost that only one method has is added to
that method's own table.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any

import torch
from torch import Tensor

from posecore.modeling.set_prediction.persons import Persons
from posecore.modeling.set_prediction.poses import Poses, PredictedPoses
from posecore.structures.oks import paired_oks

# Least OKS of relative_oks_cost.
LEAST_OKS = 1e-6

# Poses of the method's type and persons, of broadcasting dimensions -> a number for each pair.
PoseCost = Callable[[Any, Persons], Tensor]


@dataclass(frozen=True)
class WeightedCost:
    """A pose cost and its weight in a sum."""

    cost: PoseCost
    weight: float

    def __call__(self, poses: Any, persons: Persons) -> Tensor:
        return self.weight * self.cost(poses, persons)


def offset_cost(poses: Poses, persons: Persons) -> Tensor:
    """L1 distance of the offsets of visible keypoints, the first part of POET's Equation 3."""
    return _sum_of_visible((poses.offsets - persons.poses.offsets).abs().sum(dim=-1), persons)


def keypoint_cost(poses: PredictedPoses, persons: Persons) -> Tensor:
    """L1 distance of the positions of visible keypoints."""
    return _sum_of_visible((poses.keypoints - persons.poses.keypoints).abs().sum(dim=-1), persons)


def center_cost(poses: Poses, persons: Persons) -> Tensor:
    """Squared L2 distance of the centers."""
    return (poses.centers - persons.poses.centers).square().sum(dim=-1) * persons.any_visible


def center_distance_cost(poses: Poses, persons: Persons) -> Tensor:
    """L2 distance of the centers."""
    return torch.linalg.vector_norm(poses.centers - persons.poses.centers, dim=-1) * persons.any_visible


def visibility_cost(poses: Poses, persons: Persons) -> Tensor:
    """Squared L2 distance of the K visibilities."""
    return (poses.visibility - persons.poses.visibility).square().sum(dim=-1) * persons.any_visible


def visibility_distance_cost(poses: Poses, persons: Persons) -> Tensor:
    """L2 distance of the K visibilities."""
    difference = poses.visibility - persons.poses.visibility
    return torch.linalg.vector_norm(difference, dim=-1) * persons.any_visible


def pose_oks(poses: PredictedPoses, persons: Persons, sigmas: Tensor) -> Tensor:
    """OKS over the visible keypoints, in pixels of the image; 0 for persons without any.

    Args:
        poses: predicted poses.
        persons: persons.
        sigmas: (K,), the constants of the skeleton.
    """
    sizes = persons.sizes[..., None, :]
    return paired_oks(
        poses.keypoints * sizes,
        persons.poses.keypoints * sizes,
        persons.areas,
        sigmas.to(persons.areas.device),
        persons.poses.visibility,
    )


def oks_cost(poses: PredictedPoses, persons: Persons, sigmas: Tensor) -> Tensor:
    """1 - OKS (:func:`pose_oks`)."""
    return (1 - pose_oks(poses, persons, sigmas)) * persons.any_visible


def relative_oks_cost(poses: PredictedPoses, persons: Persons, sigmas: Tensor) -> Tensor:
    """1 - OKS in widths and heights of the image, as in GroupPose's official code.

    In images that are not square, distances to the side and up or down count differently. Below an OKS of
    1e-6 there is no gradient.
    """
    similarity = paired_oks(
        poses.keypoints,
        persons.poses.keypoints,
        persons.areas / persons.sizes.prod(dim=-1),
        sigmas.to(persons.areas.device),
        persons.poses.visibility,
    )
    return (1 - similarity.clamp(min=LEAST_OKS)) * persons.any_visible


def pose_costs(sigmas: Sequence[float]) -> dict[str, PoseCost]:
    """All pose costs of this module, by the names that configurations call them.

    Args:
        sigmas: K constants of the skeleton.
    """
    return {
        "offset": offset_cost,
        "keypoint": keypoint_cost,
        "center": center_cost,
        "center_distance": center_distance_cost,
        "visibility": visibility_cost,
        "visibility_distance": visibility_distance_cost,
        "oks": partial(oks_cost, sigmas=torch.tensor(sigmas)),
        "relative_oks": partial(relative_oks_cost, sigmas=torch.tensor(sigmas)),
    }


def weighted_costs(
    pairs: Sequence[Any], options: Mapping[str, PoseCost], key: str
) -> dict[str, WeightedCost]:
    """The costs that a configuration names.

    Args:
        pairs: (name, weight) pairs, the value of the key.
        options: the costs by name.
        key: name of the key, for the message.

    Returns:
        Name -> cost with its weight, in the order of the pairs.

    Raises:
        ValueError: an entry is no such pair; the message names the key and all costs.
    """
    costs = {}
    for pair in pairs:
        match pair:
            case [str(name), int() | float() as weight] if name in options:
                costs[name] = WeightedCost(options[name], float(weight))
            case _:
                raise ValueError(
                    f"{key} must hold pairs of a cost ({', '.join(options)}) and its weight, not {pair!r}"
                )
    return costs


def _sum_of_visible(errors: Tensor, persons: Persons) -> Tensor:
    """(..., K) -> (...)."""
    return (errors * persons.poses.visibility).sum(dim=-1)
