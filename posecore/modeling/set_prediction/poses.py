"""Poses in units of their image: ``Poses`` and ``KeypointPoses``, and what costs expect of other codes.

Letters: P persons, K keypoints; any dimensions may come first, written as "...".
"""

from dataclasses import dataclass, fields
from typing import Any, Protocol, TypeVar

import torch
from torch import Tensor

Fields = TypeVar("Fields", bound="TensorFields")


class TensorFields:
    """Base of frozen dataclasses of tensors with the same first dimensions."""

    def __getitem__(self: Fields, index: Any) -> Fields:
        """Indexes the first dimensions of every field."""
        return type(self)(*(getattr(self, field.name)[index] for field in fields(self)))  # type: ignore


class PredictedPoses(Protocol):
    """What the matcher and the costs of keypoints expect of a method's predicted poses.

    A method whose network predicts poses in another code than :class:`Poses` has its own dataclass with this
    interface. A cost that needs more, such as centers, is for methods that predict them.
    """

    @property
    def keypoints(self) -> Tensor:
        """(..., K, 2) positions, x in widths and y in heights of the image."""

    def __getitem__(self, index: Any) -> "PredictedPoses":
        """Indexes the first dimensions."""


@dataclass(frozen=True)
class KeypointPoses(TensorFields):
    """Poses as their keypoints alone.

    Attributes:
        keypoints: (..., K, 2) positions, x in widths and y in heights of the image.
    """

    keypoints: Tensor


@dataclass(frozen=True)
class Poses(TensorFields):
    """Poses as a center, offsets from it, and visibilities. The ground truth always has this form.

    x is in widths of the image, y in heights.

    Attributes:
        centers: (..., 2), x and y in [0, 1].
        offsets: (..., K, 2) from the center to each keypoint, in [-1, 1].
        visibility: (..., K) probability that a keypoint is visible; 0 or 1 in the ground truth.
    """

    centers: Tensor
    offsets: Tensor
    visibility: Tensor

    @property
    def keypoints(self) -> Tensor:
        """(..., K, 2) positions; they may lie outside the image."""
        return self.centers[..., None, :] + self.offsets


def poses_from_keypoints(keypoints: Tensor, sizes: Tensor, visible: Tensor) -> Poses:
    """The poses of persons; their centers are the means of their visible keypoints.

    Args:
        keypoints: (P, K, 2 or more), pixels; values after x and y are ignored.
        sizes: (P, 2), width and height of the image of each person, pixels.
        visible: (P, K) bool.

    Returns:
        P poses. The offsets of keypoints that are not visible have no meaning.
    """
    centers = centers_of_mass(keypoints, visible)
    offsets = torch.where(visible[..., None], keypoints[..., :2], 0) - centers[:, None]
    return Poses(centers / sizes, offsets / sizes[:, None], visible.to(offsets.dtype))


def centers_of_mass(keypoints: Tensor, visible: Tensor) -> Tensor:
    """The means of the visible keypoints, 0 where there are none.

    Args:
        keypoints: (P, K, 2 or more), pixels.
        visible: (P, K) bool.

    Returns:
        (P, 2), pixels.
    """
    points = torch.where(visible[..., None], keypoints[..., :2], 0)
    return points.sum(dim=1) / visible.sum(dim=1).clamp(min=1)[:, None]
