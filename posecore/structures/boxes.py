"""Boxes around keypoints. Points and boxes (x1, y1, x2, y2) are in continuous pixels."""

import torch
from torch import Tensor

# The share of its box that a person covers, where nothing better is known; the factor of xtcocotools.
AREA_OF_BOX = 0.53


def enclosing_boxes(points: Tensor) -> Tensor:
    """The smallest boxes around sets of points: (..., K, 2) -> (..., 4)."""
    return torch.cat([points.amin(dim=-2), points.amax(dim=-2)], dim=-1)


def keypoint_boxes(keypoints: Tensor, margin: float, image_size: tuple[int, int]) -> Tensor:
    """Pseudo-boxes: the smallest boxes around labeled keypoints, enlarged by a margin, clipped to the image.

    DirectPose trains with these instead of annotated boxes (section 3 of the paper; the margin of one
    pixel is that of its official code).

    Args:
        keypoints: (n, K, 3), (x, y, v); those with v = 0 do not count.
        margin: pixels added on each side.
        image_size: height and width of the image.

    Returns:
        (n, 4); all zeros, so empty, for a person without labeled keypoints.
    """
    points, labeled = keypoints[..., :2], keypoints[..., 2:] > 0
    low = points.masked_fill(~labeled, torch.inf).amin(dim=1) - margin
    high = points.masked_fill(~labeled, -torch.inf).amax(dim=1) + margin
    limit = points.new_tensor(image_size[::-1])
    boxes = torch.cat([low.clamp(min=0).minimum(limit), high.clamp(min=0).minimum(limit)], dim=-1)
    return boxes.masked_fill(~labeled.any(dim=1), 0)
