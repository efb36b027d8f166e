"""The vector that stands for a pose (Figure 2b), and what it means.

The layout of the vector is known here and nowhere else: [x_c, y_c, dx_1, dy_1, v_1, ..., dx_K, dy_K, v_K],
every number in [0, 1]. Letters: K keypoints; any dimensions may come first, written as "...".
"""

from dataclasses import dataclass, fields
from typing import Any

import torch
from torch import Tensor


@dataclass(frozen=True)
class Poses:
    """Poses in units of the image they are in: x in its widths, y in its heights.

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

    def __getitem__(self, index: Any) -> "Poses":
        """Indexes the first dimensions, those before 2, K and K."""
        return Poses(*(getattr(self, field.name)[index] for field in fields(self)))


class PoseCodec:
    """From vectors to poses and back.

    Args:
        num_keypoints: K.
    """

    def __init__(self, num_keypoints: int) -> None:
        self.num_keypoints = num_keypoints

    @property
    def num_values(self) -> int:
        """Length of the vector: two for the center, three for each keypoint."""
        return 2 + 3 * self.num_keypoints

    def split(self, vectors: Tensor) -> Poses:
        """(..., 2 + 3K) in [0, 1] -> poses. An offset d stands in the vector as (d + 1) / 2."""
        keypoints = vectors[..., 2:].unflatten(-1, (self.num_keypoints, 3))
        return Poses(vectors[..., :2], 2 * keypoints[..., :2] - 1, keypoints[..., 2])

    def join(self, poses: Poses) -> Tensor:
        """Poses -> (..., 2 + 3K); the inverse of :meth:`split`."""
        keypoints = torch.cat([(poses.offsets + 1) / 2, poses.visibility[..., None]], dim=-1)
        return torch.cat([poses.centers, keypoints.flatten(-2)], dim=-1)


def encode(keypoints: Tensor, sizes: Tensor, visible: Tensor) -> Poses:
    """The poses of persons.

    Args:
        keypoints: (P, K, 2) or (P, K, 3), pixels; whatever follows x and y is not looked at.
        sizes: (P, 2): width and height of the image each is in, pixels.
        visible: (P, K) bool.

    Returns:
        P poses. Offsets of what is not visible mean nothing.
    """
    centers = centers_of_mass(keypoints, visible)
    offsets = torch.where(visible[..., None], keypoints[..., :2], 0) - centers[:, None]
    return Poses(centers / sizes, offsets / sizes[:, None], visible.to(offsets.dtype))


def centers_of_mass(keypoints: Tensor, visible: Tensor) -> Tensor:
    """(P, K, 2 or more) and (P, K) bool -> (P, 2), means of the visible keypoints; 0 where there are none."""
    points = torch.where(visible[..., None], keypoints[..., :2], 0)
    return points.sum(dim=1) / visible.sum(dim=1).clamp(min=1)[:, None]
