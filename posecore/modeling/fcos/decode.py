"""From dense scores to few detections: selection of candidates, boxes, non-maximum suppression.

Letters: N images, R locations, Q selected locations, M candidates or detections.
"""

from dataclasses import dataclass
from itertools import pairwise

import torch
import torch.nn.functional as F
from detectron2.structures import Boxes
from torch import Tensor
from torchvision.ops import box_iou, nms

from posecore.modeling.fcos.locations import Locations, SelectedLocations


@dataclass(frozen=True)
class Candidates:
    """The M candidates of a batch, sorted by image.

    Attributes:
        locations: which locations of which images they are.
        scores: (M,).
        counts: the number of candidates of each of the N images.
    """

    locations: SelectedLocations
    scores: Tensor
    counts: list[int]


def select_candidates(
    probability: Tensor,
    scores: Tensor,
    locations: Locations,
    *,
    score_thresh: float,
    topk_per_level: int,
    topk_per_image: int,
) -> Candidates:
    """Selects the locations whose persons are decoded.

    Args:
        probability: (N, R) class probability.
        scores: (N, R) score by which candidates are ranked.
        locations: the R locations.
        score_thresh: class probability that a candidate must exceed.
        topk_per_level: at most so many candidates per level, the best.
        topk_per_image: at most so many of these per image, the best; 0 for all.

    Returns:
        The candidates, within an image level by level and best first within a level; with a limit per
        image, best first over all levels.
    """
    bounds = [*locations.starts, len(locations)]
    chosen = []
    for image_probability, image_scores in zip(probability, scores, strict=True):
        levels = []
        for start, end in pairwise(bounds):
            index = (image_probability[start:end] > score_thresh).nonzero()[:, 0] + start
            levels.append(_best(index, image_scores, topk_per_level))
        index = torch.cat(levels)
        chosen.append(_best(index, image_scores, topk_per_image) if topk_per_image else index)
    counts = [len(index) for index in chosen]
    images = torch.cat([torch.full_like(index, image) for image, index in enumerate(chosen)])
    selected = SelectedLocations(images, torch.cat(chosen))
    return Candidates(selected, scores[selected.images, selected.index], counts)


def _best(index: Tensor, scores: Tensor, limit: int) -> Tensor:
    """Of (n,) indices into (R,) scores the best ones, best first."""
    return index[scores[index].argsort(descending=True, stable=True)[:limit]]


def boxes_at(ltrb: Tensor, locations: Locations, selected: SelectedLocations) -> Tensor:
    """(Q, 4) predicted boxes in pixels, from (N, R, 4) distances in cells before the ReLU."""
    cells = F.relu(ltrb[selected.images, selected.index])
    return ltrb_to_box(locations.points[selected.index], cells * locations.strides[selected.index, None])


def ltrb_to_box(points: Tensor, ltrb: Tensor) -> Tensor:
    """(..., 2) points and (..., 4) distances -> (..., 4) corners x0, y0, x1, y1."""
    return torch.cat([points - ltrb[..., :2], points + ltrb[..., 2:]], dim=-1)


def clip_boxes(boxes: Tensor, image_size: tuple[int, int]) -> Boxes:
    """(M, 4) boxes clipped to an image of that (height, width); the tensor is not changed."""
    clipped = Boxes(boxes)
    clipped.clip(image_size)
    return clipped


def suppress(boxes: Tensor, scores: Tensor, *, nms_thresh: float, max_detections: int) -> Tensor:
    """Non-maximum suppression.

    Args:
        boxes: (M, 4) corners.
        scores: (M,).
        nms_thresh: IoU above which the box with the lower score is dropped.
        max_detections: at most so many are kept, the best.

    Returns:
        Indices of the kept boxes, best first.
    """
    return nms(boxes, scores, nms_thresh)[:max_detections]


@dataclass(frozen=True)
class SoftNMSResult:
    """What Soft-NMS keeps.

    Attributes:
        index: (M,) into the candidates, best first.
        scores: (M,) their reduced scores.
    """

    index: Tensor
    scores: Tensor


def soft_suppress(
    boxes: Tensor, scores: Tensor, *, nms_thresh: float, min_score: float, max_detections: int
) -> SoftNMSResult:
    """Linear Soft-NMS: boxes that overlap a better one lose score instead of being dropped.

    The best box is taken, the score of each other box is multiplied by one minus its IoU with it, and so on.

    Args:
        boxes: (M, 4) corners.
        scores: (M,).
        nms_thresh: IoU from which on a box loses score.
        min_score: score below which a box is dropped.
        max_detections: at most so many are kept.

    Source: Soft-NMS (arXiv 1704.04503), section 3.
    """
    scores = scores.clone()
    index, kept = [], []
    for _ in range(min(max_detections, len(scores))):
        best = scores.argmax()
        if scores[best] < min_score:
            break
        index.append(best)
        kept.append(scores[best])
        overlap = box_iou(boxes[best][None], boxes)[0].nan_to_num()  # two boxes without area: 0 / 0
        lowered = (overlap >= nms_thresh) & scores.isfinite()
        scores = torch.where(lowered, scores * (1 - overlap), scores)
        scores[best] = -torch.inf
    if not index:
        return SoftNMSResult(torch.empty_like(scores, dtype=torch.int64)[:0], scores[:0])
    return SoftNMSResult(torch.stack(index), torch.stack(kept))
