"""The vector that stands for a pose in POET's output (Figure 2b): ``PoseCodec``.

No other module knows the layout of the vector, [x_c, y_c, dx_1, dy_1, v_1, ..., dx_K, dy_K, v_K], with
every number in [0, 1]. Letters: K keypoints; any dimensions may come first, written as "...".
"""

import torch
from torch import Tensor

from posecore.modeling.set_prediction.poses import Poses


class PoseCodec:
    """Converts vectors to poses and back.

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
