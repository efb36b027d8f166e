"""The inference functions of FCOS: selection of candidates, boxes, and non-maximum suppression.

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
        locations: the locations of the candidates.
        scores: (M,) scores by which they were ranked.
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
    """Selects the locations that are decoded to detections.

    Args:
        probability: (N, R) class probability.
        scores: (N, R) score by which candidates are ranked.
        locations: the R locations.
        score_thresh: class probability that a candidate must exceed.
        topk_per_level: largest number of candidates per level; the best are kept.
        topk_per_image: largest number of candidates per image; the best are kept. 0 keeps all.

    Returns:
        The candidates, sorted by image, then by level, then best first; with ``topk_per_image``, sorted by
        image, then best first.
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
    """The ``limit`` best of (n,) indices into (R,) scores, best first."""
    return index[scores[index].argsort(descending=True, stable=True)[:limit]]


def boxes_at(ltrb: Tensor, locations: Locations, selected: SelectedLocations) -> Tensor:
    """(Q, 4) predicted boxes in pixels, from (N, R, 4) ltrb distances in cells before the ReLU."""
    cells = F.relu(ltrb[selected.images, selected.index])
    return ltrb_to_box(locations.points[selected.index], cells * locations.strides[selected.index, None])


def ltrb_to_box(points: Tensor, ltrb: Tensor) -> Tensor:
    """(..., 2) points and (..., 4) ltrb distances -> (..., 4) corners x0, y0, x1, y1."""
    return torch.cat([points - ltrb[..., :2], points + ltrb[..., 2:]], dim=-1)


def clip_boxes(boxes: Tensor, image_size: tuple[int, int]) -> Boxes:
    """(M, 4) boxes clipped to an image of that (height, width); the tensor itself is not changed."""
    clipped = Boxes(boxes)
    clipped.clip(image_size)
    return clipped


def suppress(boxes: Tensor, scores: Tensor, *, nms_thresh: float, max_detections: int) -> Tensor:
    """Non-maximum suppression.

    Args:
        boxes: (M, 4) corners.
        scores: (M,).
        nms_thresh: IoU above which the box with the lower score is dropped.
        max_detections: largest number of boxes that are kept; the best are kept.

    Returns:
        (n,) indices of the kept boxes, best first.
    """
    return nms(boxes, scores, nms_thresh)[:max_detections]


@dataclass(frozen=True)
class SoftNMSResult:
    """The candidates that Soft-NMS keeps.

    Attributes:
        index: (M,) indices into the candidates, best first.
        scores: (M,) reduced scores.
    """

    index: Tensor
    scores: Tensor


def soft_suppress(
    boxes: Tensor, scores: Tensor, *, nms_thresh: float, min_score: float, max_detections: int
) -> SoftNMSResult:
    """Linear Soft-NMS: reduces the scores of boxes that overlap a better box, instead of dropping them.

    The best box is kept, and the score of each other box is multiplied by one minus its IoU with the best
    box. This is repeated with the remaining boxes.

    Args:
        boxes: (M, 4) corners.
        scores: (M,).
        nms_thresh: least IoU at which the score of a box is reduced.
        min_score: score below which a box is dropped.
        max_detections: largest number of boxes that are kept.

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
        overlap = box_iou(boxes[best][None], boxes)[0].nan_to_num()  # NaN for two boxes without area
        lowered = (overlap >= nms_thresh) & scores.isfinite()
        scores = torch.where(lowered, scores * (1 - overlap), scores)
        scores[best] = -torch.inf
    if not index:
        return SoftNMSResult(torch.empty_like(scores, dtype=torch.int64)[:0], scores[:0])
    return SoftNMSResult(torch.stack(index), torch.stack(kept))
