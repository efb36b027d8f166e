"""Suppression with a fixed number of results: the operators :func:`nms_rows` and :func:`soft_nms_rows`.

While a model is exported they stay one node each, which :func:`onnx_nms_rows` and
:func:`onnx_soft_nms_rows` turn into operators of the ONNX standard. Letters: N images, S candidates of each
image, D results of each image.
"""

from typing import Any

import torch
from torch import Tensor
from torchvision.ops import box_iou, nms

# The score of candidates that do not exist, or no longer.
ABSENT = -1.0


def onnx_operators() -> Any:
    """The operators of the ONNX standard, version 18, as functions that write nodes."""
    from onnxscript import opset18

    return opset18


@torch.library.custom_op("posecore::nms_rows", mutates_args=())
def nms_rows(boxes: Tensor, scores: Tensor, threshold: float, count: int) -> Tensor:
    """Non-maximum suppression of each image.

    Args:
        boxes: (N, S, 4) corners, float32.
        scores: (N, S); a candidate without a positive score does not exist.
        threshold: IoU above which the box with the lower score is dropped.
        count: D, the largest number of boxes that are kept of an image.

    Returns:
        (N, D) int64 indices of the kept candidates, best first; -1 where there are no more.
    """
    result = torch.full((len(boxes), count), -1, dtype=torch.int64, device=boxes.device)
    for own, image_boxes, image_scores in zip(result, boxes, scores, strict=True):
        present = (image_scores > 0).nonzero()[:, 0]
        kept = present[nms(image_boxes[present], image_scores[present], threshold)[:count]]
        own[: len(kept)] = kept
    return result


@nms_rows.register_fake
def _(boxes: Tensor, scores: Tensor, threshold: float, count: int) -> Tensor:
    return torch.empty(boxes.shape[0], count, dtype=torch.int64, device=boxes.device)


def onnx_nms_rows(boxes: Any, scores: Any, threshold: float, count: int) -> Any:
    """The nodes of :func:`nms_rows`: NonMaxSuppression, and a scatter of its rows into a fixed size."""
    op = onnx_operators()
    kept = op.NonMaxSuppression(
        # OpenVINO takes no boxes whose last dimension is not known, as it is not behind int8 convolutions.
        op.Reshape(boxes, op.Constant(value_ints=[0, -1, 4])),
        op.Unsqueeze(scores, op.Constant(value_ints=[1])),
        op.Constant(value_ints=[count]),
        op.Constant(value_floats=[threshold]),
        op.Constant(value_floats=[0.0]),
    )  # rows of image, class and candidate, by image and then best first
    image = op.Gather(kept, op.Constant(value_int=0), axis=1)
    candidate = op.Gather(kept, op.Constant(value_int=2), axis=1)
    # The place of a row among those of its image: its own place minus the number of rows of earlier images.
    num_images = op.Shape(boxes, start=0, end=1)
    images = op.Range(op.Constant(value_int=0), op.Squeeze(num_images), op.Constant(value_int=1))
    earlier = op.Less(
        op.Unsqueeze(image, op.Constant(value_ints=[0])), op.Unsqueeze(images, op.Constant(value_ints=[1]))
    )
    starts = op.ReduceSum(op.Cast(earlier, to=7), op.Constant(value_ints=[1]), keepdims=0)
    places = op.Range(op.Constant(value_int=0), op.Squeeze(op.Shape(image)), op.Constant(value_int=1))
    place = op.Sub(places, op.Gather(starts, image))
    rows = op.Add(op.Mul(image, op.Constant(value_int=count)), place)
    size = op.Mul(num_images, op.Constant(value_ints=[count]))
    nothing = op.Expand(op.Constant(value_ints=[-1]), size)
    filled = op.ScatterElements(nothing, rows, candidate, axis=0)
    return op.Reshape(filled, op.Constant(value_ints=[-1, count]))


@torch.library.custom_op("posecore::soft_nms_rows", mutates_args=())
def soft_nms_rows(
    boxes: Tensor, scores: Tensor, threshold: float, min_score: float, count: int
) -> tuple[Tensor, Tensor]:
    """Linear Soft-NMS of each image, see :func:`posecore.modeling.fcos.decode.soft_suppress`.

    Args:
        boxes: (N, S, 4) corners, float32.
        scores: (N, S); a candidate with a negative score does not exist.
        threshold: least IoU at which the score of a box is reduced.
        min_score: score below which a box is dropped.
        count: D, the largest number of boxes that are kept of an image.

    Returns:
        (N, D) int64 indices of the kept candidates, best first, -1 where there are no more; and (N, D) their
        reduced scores.
    """
    places = torch.arange(scores.shape[1], device=scores.device)
    rows, kept = [], []
    for _ in range(count):
        best_scores, best = scores.max(dim=1, keepdim=True)  # (N, 1)
        rows.append(best.where(best_scores >= min_score, -1))
        kept.append(best_scores)
        best_boxes = boxes.gather(1, best[..., None].expand(-1, -1, 4))
        overlap = box_iou(best_boxes, boxes)[:, 0].nan_to_num()  # NaN for two boxes without area
        lowered = (overlap >= threshold) & (scores >= 0)
        scores = scores.where(~lowered, scores * (1 - overlap)).where(places != best, ABSENT)
    return torch.cat(rows, dim=1), torch.cat(kept, dim=1)


@soft_nms_rows.register_fake
def _(boxes: Tensor, scores: Tensor, threshold: float, min_score: float, count: int) -> tuple[Tensor, Tensor]:
    rows = torch.empty(boxes.shape[0], count, dtype=torch.int64, device=boxes.device)
    return rows, scores.new_empty(boxes.shape[0], count)


def onnx_soft_nms_rows(
    boxes: Any, scores: Any, threshold: float, min_score: float, count: int
) -> tuple[Any, Any]:
    """The nodes of :func:`soft_nms_rows`: D steps one after another."""
    op = onnx_operators()

    def number(value: float) -> Any:
        return op.Constant(value_float=value)

    last, second = op.Constant(value_ints=[2]), op.Constant(value_ints=[1])
    corners = [  # x1, y1, x2, y2, (N, S) each
        op.Squeeze(op.Slice(boxes, op.Constant(value_ints=[i]), op.Constant(value_ints=[i + 1]), last), last)
        for i in range(4)
    ]
    x1, y1, x2, y2 = corners
    areas = op.Mul(op.Sub(x2, x1), op.Sub(y2, y1))
    end = op.Squeeze(op.Shape(scores, start=1, end=2))
    places = op.Range(op.Constant(value_int=0), end, op.Constant(value_int=1))
    rows, kept = [], []
    for _ in range(count):
        best_scores = op.ReduceMax(scores, second, keepdims=1)
        best = op.ArgMax(scores, axis=1, keepdims=1)
        exists = op.GreaterOrEqual(best_scores, number(min_score))
        rows.append(op.Where(exists, best, op.Constant(value_int=-1)))
        kept.append(best_scores)
        own_x1, own_y1, own_x2, own_y2 = (op.GatherElements(corner, best, axis=1) for corner in corners)
        width = op.Relu(op.Sub(op.Min(x2, own_x2), op.Max(x1, own_x1)))
        height = op.Relu(op.Sub(op.Min(y2, own_y2), op.Max(y1, own_y1)))
        common = op.Mul(width, height)
        union = op.Sub(op.Add(areas, op.GatherElements(areas, best, axis=1)), common)
        has_area = op.Greater(union, number(0.0))
        overlap = op.Where(has_area, op.Div(common, op.Where(has_area, union, number(1.0))), number(0.0))
        lowered = op.And(
            op.GreaterOrEqual(overlap, number(threshold)), op.GreaterOrEqual(scores, number(0.0))
        )
        reduced = op.Where(lowered, op.Mul(scores, op.Sub(number(1.0), overlap)), scores)
        scores = op.Where(op.Equal(places, best), number(ABSENT), reduced)
    return op.Concat(*rows, axis=1), op.Concat(*kept, axis=1)
