"""How far a predicted pose is from a ground-truth one: the terms that costs and losses are sums of (Equation 3).

Every term takes poses and persons and gives a number for each pair of them. Their first dimensions
broadcast: (Q,) poses and (P, 1) persons give the (P, Q) costs of the matcher; (M,) and (M,) the losses of
matched pairs. Persons without visible keypoints have no pose, so every term of theirs is 0.

A new term is a function here and a name in :data:`TERMS`.
"""

from collections.abc import Callable

import torch
from torch import Tensor

from poet.codec import Poses
from poet.persons import Persons
from posecore.structures.oks import paired_oks

Term = Callable[[Poses, Persons], Tensor]


def offset_error(poses: Poses, persons: Persons) -> Tensor:
    """L1 distance of the offsets of visible keypoints, the paper's first term."""
    return _over_visible((poses.offsets - persons.poses.offsets).abs().sum(dim=-1), persons)


def coded_offset_error(poses: Poses, persons: Persons) -> Tensor:
    """The same of offsets as the output vector has them, where [-1, 1] has become [0, 1]: half of it."""
    return offset_error(poses, persons) / 2


def keypoint_error(poses: Poses, persons: Persons) -> Tensor:
    """L1 distance of the positions of visible keypoints; it leaves the choice of the center to the model."""
    return _over_visible((poses.keypoints - persons.poses.keypoints).abs().sum(dim=-1), persons)


def center_error(poses: Poses, persons: Persons) -> Tensor:
    """Squared distance of the centers."""
    return (poses.centers - persons.poses.centers).square().sum(dim=-1) * persons.posed


def center_distance(poses: Poses, persons: Persons) -> Tensor:
    """Distance of the centers."""
    return torch.linalg.vector_norm(poses.centers - persons.poses.centers, dim=-1) * persons.posed


def visibility_error(poses: Poses, persons: Persons) -> Tensor:
    """Squared distance of the K visibilities."""
    return (poses.visibility - persons.poses.visibility).square().sum(dim=-1) * persons.posed


def visibility_distance(poses: Poses, persons: Persons) -> Tensor:
    """Distance of the K visibilities."""
    return torch.linalg.vector_norm(poses.visibility - persons.poses.visibility, dim=-1) * persons.posed


def oks_error(poses: Poses, persons: Persons, sigmas: Tensor) -> Tensor:
    """1 - OKS over the visible keypoints; a person's area is that of its box.

    Args:
        sigmas: (K,) of the skeleton.
    """
    sizes = persons.sizes[..., None, :]
    similarity = paired_oks(
        poses.keypoints * sizes,
        persons.poses.keypoints * sizes,
        persons.areas,
        sigmas.to(persons.areas.device),
        persons.poses.visibility,
    )
    return (1 - similarity) * persons.posed


# By the names in MODEL.POET.LOSSES and MODEL.POET.COSTS; "oks" needs the skeleton's constants.
TERMS: dict[str, Term] = {
    "offset": offset_error,
    "coded_offset": coded_offset_error,
    "keypoint": keypoint_error,
    "center": center_error,
    "center_distance": center_distance,
    "visibility": visibility_error,
    "visibility_distance": visibility_distance,
}


def _over_visible(errors: Tensor, persons: Persons) -> Tensor:
    """(..., K) -> (...), a sum."""
    return (errors * persons.poses.visibility).sum(dim=-1)
