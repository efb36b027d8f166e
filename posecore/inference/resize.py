"""Resizes images as the models are trained on them, without Pillow: :func:`resize_bilinear`."""

import numpy as np

# Pillow's precision of the weights of a resize, in bits.
RESIZE_BITS = 22


def resized_size(size: tuple[int, int], min_size: int, max_size: int, rounding: str) -> tuple[int, int]:
    """The (height, width) after the resize of evaluation, see ``posecore.data.augment.evaluation_resize``.

    Args:
        size: (height, width) of the image.
        min_size: pixels of the shorter side; 0 for no resize.
        max_size: the most pixels of the longer side.
        rounding: "nearest", both sides to the nearest number; "down", the longer one down.
    """
    height, width = size
    if min_size == 0:
        return size
    shorter, longer = sorted(size)
    if rounding == "down":
        side = min_size
        if longer / shorter * side > max_size:
            side = round(max_size * shorter / longer)
        other = int(side * longer / shorter)
        return (side, other) if height <= width else (other, side)
    scale = min_size * 1.0 / shorter
    new = [float(min_size), scale * width] if height < width else [scale * height, float(min_size)]
    if max(new) > max_size:
        scale = max_size * 1.0 / max(new)
        new = [side * scale for side in new]
    return int(new[0] + 0.5), int(new[1] + 0.5)


def resize_bilinear(image: np.ndarray, size: tuple[int, int]) -> np.ndarray:
    """Resizes an image (H, W, C) uint8 to (height, width) as Pillow 13 does bilinearly, bit by bit.

    Pillow averages over all pixels that shrink to one, which OpenCV's bilinear resize does not; models are
    trained on Pillow's.
    """
    height, width = size
    # The order matters to the last bit, because the first of the two passes rounds. Pillow 13 begins with the
    # rows where these lose more than twice as much as the columns, earlier versions never.
    lost_rows, lost_columns = image.shape[0] - height, image.shape[1] - width
    rows_first = lost_rows > max(2 * lost_columns, 0)
    for axis in (0, 1) if rows_first else (1, 0):
        if image.shape[axis] != size[axis]:
            image = np.moveaxis(_resample(np.moveaxis(image, axis, 0), size[axis]), 0, axis)
    return np.ascontiguousarray(image)


def _resample(image: np.ndarray, length: int) -> np.ndarray:
    """Resamples the first axis of a uint8 array to a length, with the integer weights of Pillow."""
    before = image.shape[0]
    scale = before / length
    support = max(scale, 1.0)
    centers = (np.arange(length) + 0.5) * scale
    first = np.maximum(np.trunc(centers - support + 0.5), 0).astype(np.int64)
    last = np.minimum(np.trunc(centers + support + 0.5), before).astype(np.int64)
    taps = np.arange((last - first).max())
    distances = (first[:, None] + taps - centers[:, None] + 0.5) / support
    weights = np.maximum(1 - np.abs(distances), 0) * (taps < (last - first)[:, None])
    weights /= weights.sum(axis=1, keepdims=True)
    integers = np.trunc(weights * (1 << RESIZE_BITS) + 0.5).astype(np.int32)
    source = np.ascontiguousarray(image).reshape(before, -1).astype(np.int32)
    total = np.full((length, source.shape[1]), 1 << (RESIZE_BITS - 1), dtype=np.int32)
    for tap in taps:
        total += source[np.minimum(first + tap, before - 1)] * integers[:, tap, None]
    return (total >> RESIZE_BITS).clip(0, 255).astype(np.uint8).reshape(length, *image.shape[1:])
