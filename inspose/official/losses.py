"""The losses that the official model of InsPose has beyond those of the paper.

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
UNLABELED_QUALITY = 0.1


def varifocal_errors(logits: Tensor, quality: Tensor) -> Tensor:
    """Varifocal loss of each location.

    Args:
        logits: (N, R).
        quality: (N, R) target quality in [0, 1], 0 for background.

    Returns:
        (N, R).

    Source: VarifocalNet (arXiv 2008.13367), equation 2.
    """
    weights = torch.where(quality > 0, quality, ALPHA * logits.sigmoid() ** GAMMA)
    return weights * F.binary_cross_entropy_with_logits(logits, quality, reduction="none")


def pose_quality(
    cells: Tensor, keypoints: Tensor, areas: Tensor, sigmas: Tensor, *, size: tuple[int, int], stride: int
) -> Tensor:
    """The quality of the poses at positive locations, which is the target of their class score.

    It is the similarity (OKS) of the cells of the peaks to the cells of the keypoints. As in the official
    code, distances are in cells but areas in pixels, so squared distances are too small by the square of the
    stride.

    Args:
        cells: (P, K) int64 cells of the peaks, row * W + column.
        keypoints: (P, K, 3) keypoints of the persons of the locations, in pixels.
        areas: (P,) areas of these persons, in square pixels.
        sigmas: (K,) of the skeleton.
        size: (H, W) of the heatmaps.
        stride: pixels per cell.

    Returns:
        (P,) in [0, 1].
    """
    own = nearest_cells(keypoints, size, stride)
    peaks = torch.stack([cells % size[1], cells // size[1]], dim=-1).float()
    gt_cells = torch.stack([own.columns, own.rows], dim=-1).float()
    similarity = paired_oks(peaks, gt_cells, areas, sigmas, own.inside)
    return torch.where(own.inside.any(dim=1), similarity, UNLABELED_QUALITY)


def regression_errors(keypoints: Tensor, gt_keypoints: Tensor, points: Tensor, strides: Tensor) -> Tensor:
    """Absolute errors of regressed keypoints in cells, averaged over x and y.

    Args:
        keypoints: (P, K, 2) predictions relative to the locations, in cells.
        gt_keypoints: (P, K, 3) in pixels.
        points: (P, 2) locations, in pixels.
        strides: (P,) pixels per cell of the locations' levels.

    Returns:
        (P, K).
    """
    targets = (gt_keypoints[..., :2] - points[:, None]) / strides[:, None, None]
    return (keypoints - targets).abs().mean(dim=-1)


def square_targets(
    people: list[Tensor], boxes: list[Tensor], size: tuple[int, int], stride: int
) -> SupervisedCells:
    """The targets of the offsets, in a square around each labeled keypoint that is larger for larger persons.

    A cell in the squares of several persons' keypoints of one type has the one nearest to the cell's upper
    left corner as its target.

    Args:
        people: (G, K, 3) keypoints of each image, in pixels, finite.
        boxes: (G, 4) boxes of each image, corners in pixels.
        size: (H, W) of the offset map.
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
    """The errors of the tags, summed over the images of a batch.

    Attributes:
        pull: scalar, how far the tags of a person are from their mean.
        push: scalar, how close the mean tags of different persons are.
    """

    pull: Tensor
    push: Tensor


def tag_errors(tags: Tensor, people: list[Tensor], stride: int) -> TagErrors:
    """The errors of associative embedding: tags of one person should be equal, those of others different.

    As in the official code, a tag is read one cell left of and above the cell of its keypoint.

    Args:
        tags: (N, K, H, W).
        people: (G, K, 3) keypoints of each image, in pixels, finite.
        stride: pixels per cell.

    Source: Associative Embedding (arXiv 1611.05424), section 3.2.
    """
    pull, push = tags.new_zeros(()), tags.new_zeros(())
    each = torch.arange(tags.shape[1], device=tags.device)
    for image_tags, persons in zip(tags, people, strict=True):
        cells = nearest_cells(persons, (image_tags.shape[1], image_tags.shape[2]), stride)
        values = image_tags[each, (cells.rows - 1).clamp(min=0), (cells.columns - 1).clamp(min=0)]
        labeled = cells.inside.any(dim=1)
        values, inside = values[labeled], cells.inside[labeled]
        count = len(values)
        if count == 0:
            continue
        mean = (values * inside).sum(dim=1) / inside.sum(dim=1)
        variance = ((values - mean[:, None]).square() * inside).sum(dim=1) / inside.sum(dim=1)
        pull = pull + variance.mean()
        if count > 1:
            similarity = torch.exp(-(mean[:, None] - mean).square())
            push = push + (similarity.sum() - count) / (2 * count * (count - 1))
    return TagErrors(pull, push)
