"""Non-maximum suppression with a fixed number of results: the operator :func:`nms_rows`, and its ONNX form.

While a model is exported the operator stays one node, which :func:`onnx_nms_rows` turns into operators of the
ONNX standard. Letters: N images, S candidates of each image, D results of each image.
"""

from typing import Any

import torch
from torch import Tensor
from torchvision.ops import nms


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
    from onnxscript import opset18 as op

    kept = op.NonMaxSuppression(
        boxes,
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
