"""The targets and the loss of the auxiliary heatmaps, which show all persons of an image together.

Both are those of CornerNet (arXiv 1808.01244). InsPose (arXiv 2107.08982), section 3.4, trains with them.

Letters: N images, G persons of one image, K keypoint types, H and W the size of the maps.
"""

import torch
import torch.nn.functional as F
from torch import Tensor

from posecore.structures.heatmaps import gaussian_heatmaps, nearest_cells

# The least IoU with itself of a box whose corners are moved by the radius (CornerNet's rule).
OVERLAP = 0.9
# The largest radius, in cells.
MAX_RADIUS = 3
# Exponents of the loss, alpha and beta in CornerNet: they reduce the weight of easy cells, and of cells near
# a keypoint.
FOCUS, NEARNESS = 2, 4


def heatmap_targets(people: list[Tensor], boxes: list[Tensor], size: tuple[int, int], stride: int) -> Tensor:
    """Target heatmaps with a Gaussian around every labeled keypoint, wider for larger persons.

    Args:
        people: (G, K, 3) keypoints of each image, in pixels, finite.
        boxes: (G, 4) boxes of each image, corners in pixels.
        size: (H, W) of the heatmaps.
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
    """The radius of the Gaussians of each person, in whole cells, by CornerNet's rule.

    The rule takes the least of the roots of three quadratic equations. As in CornerNet's code, the root of
    the third equation is not divided by the leading coefficient; the true root would be below one cell for
    nearly all persons. The other two equations never give less and are left out.

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
    """CornerNet's variant of focal loss, of each cell.

    Args:
        logits: (N, K, H, W).
        targets: (N, K, H, W), exactly 1 in the cells of keypoints.

    Returns:
        (N, K, H, W).

    Source: CornerNet (arXiv 1808.01244), equation 1.
    """
    probability = logits.sigmoid()
    at_keypoint = -F.logsigmoid(logits) * (1 - probability) ** FOCUS
    beside = -F.logsigmoid(-logits) * probability**FOCUS * (1 - targets) ** NEARNESS
    return torch.where(targets == 1, at_keypoint, beside)
