"""From dense scores to a few detections: choose candidates, let the method place them, drop duplicates."""

from dataclasses import dataclass
from itertools import pairwise

import torch
import torch.nn.functional as F
from detectron2.structures import Boxes
from torch import Tensor
from torchvision.ops import box_iou, nms

from posecore.modeling.fcos.locations import Locations
from posecore.modeling.fcos.ltrb import ltrb_to_box
from posecore.modeling.fcos.queries import Queries
from posecore.modeling.fcos.settings import Decoding


@dataclass(frozen=True)
class Candidates:
    """The M chosen locations of a batch, image by image.

    Attributes:
        queries: where they are.
        scores: (M,).
        counts: how many each of the N images has.
    """

    queries: Queries
    scores: Tensor
    counts: list[int]


def select(probability: Tensor, scores: Tensor, locations: Locations, how: Decoding) -> Candidates:
    """The locations worth decoding.

    Args:
        probability: (N, R) class probability, compared with the threshold (exclusive).
        scores: (N, R) what candidates are ranked by, and their score.
        locations: the R locations.
        how: threshold and limits.

    Returns:
        The candidates, within an image level by level, best first within a level; if the image has a
        limit, best first over all levels.
    """
    bounds = [*locations.starts, len(locations)]
    chosen = []
    for image_probability, image_scores in zip(probability, scores, strict=True):
        levels = []
        for start, end in pairwise(bounds):
            index = (image_probability[start:end] > how.score_thresh).nonzero()[:, 0] + start
            levels.append(_best(index, image_scores, how.topk_per_level))
        index = torch.cat(levels)
        chosen.append(_best(index, image_scores, how.topk_per_image) if how.topk_per_image else index)
    counts = [len(index) for index in chosen]
    images = torch.cat([torch.full_like(index, image) for image, index in enumerate(chosen)])
    queries = Queries(images, torch.cat(chosen))
    return Candidates(queries, scores[queries.images, queries.index], counts)


def _best(index: Tensor, scores: Tensor, limit: int) -> Tensor:
    """Of (n,) indices into (R,) scores the best ones, best first."""
    return index[scores[index].argsort(descending=True, stable=True)[:limit]]


def boxes_at(ltrb: Tensor, locations: Locations, queries: Queries) -> Tensor:
    """(Q, 4) predicted boxes in pixels, from (N, R, 4) distances in cells before the ReLU."""
    cells = F.relu(ltrb[queries.images, queries.index])
    return ltrb_to_box(locations.points[queries.index], cells * locations.strides[queries.index, None])


def clipped(boxes: Tensor, size: tuple[int, int]) -> Boxes:
    """(M, 4) boxes cut by the image of that height and width; the tensor stays as it is."""
    cut = Boxes(boxes)
    cut.clip(size)
    return cut


def suppress(boxes: Tensor, scores: Tensor, *, threshold: float, limit: int) -> Tensor:
    """Non-maximum suppression.

    Args:
        boxes: (M, 4) corners.
        scores: (M,).
        threshold: overlap (IoU) above which the lesser of two is dropped.
        limit: at most so many survive.

    Returns:
        Indices of the survivors, best first.
    """
    return nms(boxes, scores, threshold)[:limit]


@dataclass(frozen=True)
class Softened:
    """What gentle suppression leaves.

    Attributes:
        index: (M,) into the candidates, best first.
        scores: (M,) their lowered scores.
    """

    index: Tensor
    scores: Tensor


def soft_suppress(boxes: Tensor, scores: Tensor, *, threshold: float, least: float, limit: int) -> Softened:
    """Linear Soft-NMS: overlapping boxes lose score instead of being dropped.

    The best box is taken, the others lose their overlap's share of their score, and so on.

    Args:
        boxes: (M, 4) corners.
        scores: (M,).
        threshold: overlap (IoU) from which on a box loses score.
        least: score below which a box is dropped.
        limit: at most so many survive.

    Source: Soft-NMS (arXiv 1704.04503), section 3.
    """
    scores = scores.clone()
    index, kept = [], []
    for _ in range(min(limit, len(scores))):
        best = scores.argmax()
        if scores[best] < least:
            break
        index.append(best)
        kept.append(scores[best])
        overlap = box_iou(boxes[best][None], boxes)[0].nan_to_num()  # two boxes without area: 0 / 0
        lowered = (overlap >= threshold) & scores.isfinite()
        scores = torch.where(lowered, scores * (1 - overlap), scores)
        scores[best] = -torch.inf
    if not index:
        return Softened(torch.empty_like(scores, dtype=torch.int64)[:0], scores[:0])
    return Softened(torch.stack(index), torch.stack(kept))


@dataclass(frozen=True)
class Survivors:
    """What suppression leaves of one image's candidates.

    Attributes:
        index: (M,) into the candidates, best first.
        boxes: M, cut by the image.
    """

    index: Tensor
    boxes: Boxes


def survivors(size: tuple[int, int], scores: Tensor, boxes: Tensor, how: Decoding) -> Survivors:
    """Suppression by boxes as far as they are on the image.

    Args:
        size: height and width of the image.
        scores: (M,).
        boxes: (M, 4) corners.
        how: threshold and limit.
    """
    cut = clipped(boxes, size)
    kept = suppress(cut.tensor, scores, threshold=how.nms_thresh, limit=how.limit)
    return Survivors(kept, cut[kept])
