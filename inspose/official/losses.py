"""The losses that the official model has beyond the paper's.

Letters: N images, R locations, P positive locations, G persons of one image, K keypoints, H and W the size
of a map.
"""

from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor

from inspose.disk import SupervisedCells, join_people, keep_nearest, window
from inspose.heatmaps import MAX_RADIUS, radius_of
from posecore.structures.heatmaps import nearest_cells
from posecore.structures.oks import paired_oks

# Varifocal loss: weight of negatives, and their focusing exponent.
ALPHA, GAMMA = 0.75, 2.0
# The quality of a person without labeled keypoints.
UNLABELLED_QUALITY = 0.1


def varifocal_errors(logits: Tensor, quality: Tensor) -> Tensor:
    """Varifocal loss of each location.

    Args:
        logits: (N, R).
        quality: (N, R) in [0, 1], 0 for background.

    Source: VarifocalNet (arXiv 2008.13367), equation 2.
    """
    weights = torch.where(quality > 0, quality, ALPHA * logits.sigmoid() ** GAMMA)
    return weights * F.binary_cross_entropy_with_logits(logits, quality, reduction="none")


def pose_quality(
    cells: Tensor, keypoints: Tensor, areas: Tensor, sigmas: Tensor, *, size: tuple[int, int], stride: int
) -> Tensor:
    """How good the peaks of positive locations are, which is what their class score is to say.

    The similarity (OKS) of the peaks' cells to the keypoints'. As in the official code, distances are in cells but areas
    in pixels, so it is lenient: by the square of the stride.

    Args:
        cells: (P, K) peaks, row * W + column.
        keypoints: (P, K, 3) of their persons, in pixels.
        areas: (P,) of their persons, square pixels.
        sigmas: (K,).
        size: (H, W) of the heatmaps.
        stride: pixels per cell.

    Returns:
        (P,) in [0, 1].
    """
    own = nearest_cells(keypoints, size, stride)
    found = torch.stack([cells % size[1], cells // size[1]], dim=-1).float()
    ground_truth = torch.stack([own.columns, own.rows], dim=-1).float()
    similarity = paired_oks(found, ground_truth, areas, sigmas, own.inside)
    return torch.where(own.inside.any(dim=1), similarity, UNLABELLED_QUALITY)


def regression_errors(keypoints: Tensor, ground_truth: Tensor, points: Tensor, strides: Tensor) -> Tensor:
    """Absolute errors of regressed keypoints, in cells, the mean of x and y.

    Args:
        keypoints: (P, K, 2) relative to the locations, in cells.
        ground_truth: (P, K, 3) in pixels.
        points: (P, 2) the locations, in pixels.
        strides: (P,).

    Returns:
        (P, K).
    """
    targets = (ground_truth[..., :2] - points[:, None]) / strides[:, None, None]
    return (keypoints - targets).abs().mean(dim=-1)


def square_targets(
    people: list[Tensor], boxes: list[Tensor], size: tuple[int, int], stride: int
) -> SupervisedCells:
    """Where offsets are trained: a square around each labeled keypoint, larger for larger persons.

    The nearest keypoint of a type has a cell, seen from the cell's upper left corner.

    Args:
        people: per image (G, K, 3) in pixels, finite.
        boxes: per image (G, 4) corners.
        size: (H, W).
        stride: pixels per cell.
    """
    keypoints, images = join_people(people)
    radii = radius_of(torch.cat(boxes) / stride)
    cells, on_map = window(keypoints, size, stride, MAX_RADIUS)
    side = torch.arange(-MAX_RADIUS, MAX_RADIUS + 1, device=cells.device).abs()
    within = torch.maximum(side[:, None], side).flatten() <= radii[:, None, None]
    corners = torch.stack([cells % size[1], cells // size[1]], dim=-1) * stride
    offsets = keypoints[:, :, None, :2] - corners
    supervised = on_map & within & (keypoints[..., 2:] > 0)
    return keep_nearest(images, cells, offsets - stride / 2, offsets.square().sum(dim=-1), supervised)


@dataclass(frozen=True)
class TagErrors:
    """The sums over the images of a batch.

    Attributes:
        pull: scalar.
        push: scalar.
    """

    pull: Tensor
    push: Tensor


def tag_errors(tags: Tensor, people: list[Tensor], stride: int) -> TagErrors:
    """Associative embedding: tags of one person are drawn together, those of different persons apart.

    As in the official code, a tag is read one cell left of and above that of its keypoint.

    Args:
        tags: (N, K, H, W).
        people: per image (G, K, 3) in pixels, finite.
        stride: pixels per cell.

    Source: Associative Embedding (arXiv 1611.05424), section 3.2.
    """
    pull, push = tags.new_zeros(()), tags.new_zeros(())
    each = torch.arange(tags.shape[1], device=tags.device)
    for own, persons in zip(tags, people, strict=True):
        cells = nearest_cells(persons, (own.shape[1], own.shape[2]), stride)
        read = own[each, (cells.rows - 1).clamp(min=0), (cells.columns - 1).clamp(min=0)]
        labeled = cells.inside.any(dim=1)
        read, inside = read[labeled], cells.inside[labeled]
        count = len(read)
        if count == 0:
            continue
        mean = (read * inside).sum(dim=1) / inside.sum(dim=1)
        variance = ((read - mean[:, None]).square() * inside).sum(dim=1) / inside.sum(dim=1)
        pull = pull + variance.mean()
        if count > 1:
            likeness = torch.exp(-(mean[:, None] - mean).square())
            push = push + (likeness.sum() - count) / (2 * count * (count - 1))
    return TagErrors(pull, push)
