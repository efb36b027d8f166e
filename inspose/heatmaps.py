"""Heatmaps of all persons together: their targets and loss, CornerNet's.

Letters: N images, G persons of one image, K keypoint types, H and W the size of the maps.
"""

import torch
import torch.nn.functional as F
from torch import Tensor

from posecore.structures.heatmaps import gaussian_heatmaps, nearest_cells

# Overlap (IoU) that a box moved by the radius keeps at least, by CornerNet's rule.
OVERLAP = 0.9
# The largest radius, in cells.
MAX_RADIUS = 3
# Exponents of the loss: how easy cells are discounted, and cells near a keypoint.
FOCUS, NEARNESS = 2, 4


def heatmap_targets(people: list[Tensor], boxes: list[Tensor], size: tuple[int, int], stride: int) -> Tensor:
    """A Gaussian around every labeled keypoint, wider for larger persons.

    Args:
        people: per image (G, K, 3) in pixels, finite.
        boxes: per image (G, 4) corners.
        size: (H, W).
        stride: pixels per cell.

    Returns:
        (N, K, H, W), exactly 1 in the cells of keypoints.
    """
    maps = []
    for persons, corners in zip(people, boxes, strict=True):
        radii = radius_of(corners / stride)[:, None]
        cells = nearest_cells(persons, size, stride)
        maps.append(gaussian_heatmaps(cells, size, (2 * radii + 1) / 6, radii))
    return torch.stack(maps)


def radius_of(boxes: Tensor) -> Tensor:
    """The radius of each box's keypoints, in whole cells.

    CornerNet's rule, with the larger root of the third of its equations, which is not divided by twice the
    leading coefficient, as its published code and many others have it. The true roots would be below one cell
    for nearly everybody. The other two equations never give less.

    Args:
        boxes: (G, 4) corners in cells.

    Returns:
        (G,) int64 in [0, MAX_RADIUS].

    Source: CornerNet (arXiv 1808.01244), section 3.2, and its code.
    """
    width, height = (boxes[:, 2:] - boxes[:, :2]).unbind(dim=1)
    linear = -2 * OVERLAP * (width + height)
    constant = (OVERLAP - 1) * width * height
    root = (linear + (linear.square() - 16 * OVERLAP * constant).sqrt()) / 2
    return root.floor().clamp(0, MAX_RADIUS).long()


def heatmap_errors(logits: Tensor, targets: Tensor) -> Tensor:
    """The variant of focal loss that CornerNet has, of each cell; its equation 1.

    Args:
        logits: (N, K, H, W).
        targets: (N, K, H, W); exactly 1 where a keypoint is.
    """
    probability = logits.sigmoid()
    at_keypoint = -F.logsigmoid(logits) * (1 - probability) ** FOCUS
    beside = -F.logsigmoid(-logits) * probability**FOCUS * (1 - targets) ** NEARNESS
    return torch.where(targets == 1, at_keypoint, beside)
