"""Draws poses, heatmaps and links on images, and arranges images in grids.

Images are (H, W, 3) uint8 RGB, points continuous pixels; those that are not finite are left out.
The person's left is orange, the right blue.
"""

import colorsys
from collections.abc import Sequence

import cv2
import numpy as np
import torch
from detectron2.structures import Boxes, Instances, Keypoints

from posecore.structures.skeleton import Skeleton

Color = tuple[int, int, int]

_SIDES: dict[str, Color] = {"left": (255, 150, 30), "right": (40, 150, 255), "middle": (110, 220, 90)}
_OUTLINE: Color = (20, 20, 20)
_BOXES: tuple[Color, ...] = (
    (255, 255, 255),
    (255, 225, 90),
    (120, 255, 210),
    (255, 150, 200),
    (200, 170, 255),
)
_BACKGROUND: Color = (32, 34, 38)
_INK: Color = (235, 235, 235)
_MARK: Color = (230, 30, 30)
_FONT = cv2.FONT_HERSHEY_SIMPLEX
# cv2 takes positions as integers of 1/16 pixel.
_SHIFT = 4


def draw_poses(
    image: np.ndarray,
    poses: Instances,
    skeleton: Skeleton,
    *,
    threshold: float = 0.0,
    boxes: bool = True,
    scale: float = 1.0,
) -> np.ndarray:
    """Draws poses on a copy of an image; the lines are thicker for larger persons.

    Args:
        image: (H, W, 3) uint8 RGB; not changed.
        poses: a model's detections (pred_keypoints, pred_boxes, scores) or ground truth (gt_keypoints,
            gt_boxes) in pixels of the image. A hidden keypoint of the ground truth (v = 1) is a ring. Tracked
            persons (``track_ids``, 0 for none yet) have a color by their identity around limbs and box, and
            the identity before the score; ``smoothed_keypoints`` are drawn instead of predicted ones.
        skeleton: defines the limbs and the sides.
        threshold: keypoints with a confidence not above this are left out, with their limbs.
        boxes: whether to draw boxes, with scores.
        scale: factor by which the image is resized first.

    Returns:
        (H * scale, W * scale, 3) uint8 RGB, at least one pixel high and wide.
    """
    height, width = (max(round(side * scale), 1) for side in image.shape[:2])
    canvas = cv2.resize(
        image, (width, height), interpolation=cv2.INTER_CUBIC if scale > 1 else cv2.INTER_AREA
    )
    predicted = poses.has("pred_keypoints")
    if poses.has("smoothed_keypoints"):
        keypoints = _array(poses.smoothed_keypoints)
    else:
        keypoints = _array(poses.pred_keypoints if predicted else poses.gt_keypoints)
    ids = poses.track_ids.tolist() if poses.has("track_ids") else [0] * len(poses)
    if boxes and poses.has("pred_boxes" if predicted else "gt_boxes"):
        corners = _array(poses.pred_boxes if predicted else poses.gt_boxes)
        labels = (
            [f"{score:.2f}" for score in poses.scores.tolist()] if poses.has("scores") else [""] * len(poses)
        )
        for index, (box, label, identity) in enumerate(zip(corners, labels, ids, strict=True)):
            color = identity_color(identity) if identity else _BOXES[index % len(_BOXES)]
            name = f"#{identity} " if identity else ""
            _draw_box(canvas, box * scale, f"{name}{label}".strip(), color)
    # The best detection is drawn last, on top of the others.
    for person, identity in zip(keypoints[::-1], ids[::-1], strict=True):
        shown = person[:, 2] > (threshold if predicted else 0)
        hidden = np.zeros_like(shown) if predicted else person[:, 2] == 1
        outline = identity_color(identity) if identity else _OUTLINE
        _draw_pose(canvas, person[:, :2] * scale, shown, hidden, skeleton, outline)
    return canvas


def identity_color(identity: int) -> Color:
    """The color of a tracked person, RGB; those of identities that follow each other differ clearly."""
    hue = identity * 0.618034 % 1  # the golden ratio spreads hues
    red, green, blue = colorsys.hsv_to_rgb(hue, 0.75, 1.0)
    return round(255 * red), round(255 * green), round(255 * blue)


def draw_heat(
    image: np.ndarray, heat: np.ndarray, *, mark: tuple[float, float] | None = None, strength: float = 0.6
) -> np.ndarray:
    """Draws a heatmap on a copy of an image, from its smallest (blue) to its largest value (red).

    Args:
        image: (H, W, 3) uint8 RGB; not changed.
        heat: (h, w), of any range.
        mark: a point to draw as a red disc, pixels.
        strength: opacity of the heatmap, from 0 to 1.

    Returns:
        (H, W, 3) uint8 RGB.
    """
    height, width = image.shape[:2]
    spread = max(float(np.ptp(heat)), np.finfo(np.float32).tiny)
    levels = ((heat - heat.min()) / spread * 255).astype(np.uint8)
    colors = cv2.applyColorMap(cv2.resize(levels, (width, height)), cv2.COLORMAP_JET)
    colors = cv2.cvtColor(colors, cv2.COLOR_BGR2RGB)
    canvas = cv2.addWeighted(np.ascontiguousarray(image), 1 - strength, colors, strength, 0)
    if mark is not None:
        _draw_disc(canvas, np.array(mark), max(height, width) / 80 + 1, _INK)
        _draw_disc(canvas, np.array(mark), max(height, width) / 80, _MARK)
    return canvas


def draw_links(
    image: np.ndarray, points: np.ndarray, weights: np.ndarray, origin: int, skeleton: Skeleton
) -> np.ndarray:
    """Draws lines from one keypoint to the others, with a thickness by their weights, and all keypoints.

    Args:
        image: (H, W, 3) uint8 RGB; not changed.
        points: (K, 2), pixels.
        weights: (K,), 0 or more; the thickest line is that of the greatest weight, without the origin's own.
        origin: index of the keypoint that the lines start from.
        skeleton: defines the colors of keypoints.

    Returns:
        (H, W, 3) uint8 RGB.
    """
    canvas = np.ascontiguousarray(image).copy()
    size = max(image.shape[:2])
    others = [k for k in range(len(points)) if k != origin]
    greatest = max([float(weights[k]) for k in others], default=0.0) or 1.0
    for k in sorted(others, key=lambda k: weights[k]):
        thickness = round(float(weights[k]) / greatest * size / 40)
        if thickness and np.isfinite(points[[origin, k]]).all():
            ends = _fixed(points[origin]), _fixed(points[k])
            cv2.line(canvas, *ends, _SIDES[skeleton.sides[k]], thickness, cv2.LINE_AA, _SHIFT)
    for k, point in enumerate(points):
        _draw_disc(canvas, point, size / 80 + 1, _OUTLINE)
        _draw_disc(canvas, point, size / 80, _MARK if k == origin else _SIDES[skeleton.sides[k]])
    return canvas


def grid(images: Sequence[np.ndarray], columns: int, captions: Sequence[str] | None = None) -> np.ndarray:
    """Arranges images in rows on a dark background, with captions above them.

    All cells of the grid have the size of the largest image.

    Args:
        images: (H_i, W_i, 3) uint8 RGB each, at least one.
        columns: images per row.
        captions: one for each image; None for no captions.

    Returns:
        (H, W, 3) uint8 RGB.

    Raises:
        ValueError: there are no images.
    """
    if not images:
        raise ValueError("a grid needs at least one image")
    gap, head = 6, 20 if captions else 0
    height = max(image.shape[0] for image in images) + head + gap
    width = max(image.shape[1] for image in images) + gap
    rows = -(-len(images) // columns)
    canvas = np.full(
        (rows * height + gap, min(columns, len(images)) * width + gap, 3), _BACKGROUND, dtype=np.uint8
    )
    for index, image in enumerate(images):
        top, left = (index // columns) * height + gap, (index % columns) * width + gap
        if captions:
            cell = canvas[top : top + head, left : left + width - gap]
            cv2.putText(cell, captions[index], (2, head - 6), _FONT, 0.42, _INK, 1, cv2.LINE_AA)
        canvas[top + head : top + head + image.shape[0], left : left + image.shape[1]] = image
    return canvas


def _array(values: Boxes | Keypoints | torch.Tensor) -> np.ndarray:
    tensor = values if isinstance(values, torch.Tensor) else values.tensor
    return tensor.detach().cpu().float().numpy()


def _draw_pose(
    canvas: np.ndarray,
    points: np.ndarray,
    shown: np.ndarray,
    hidden: np.ndarray,
    skeleton: Skeleton,
    outline: Color,
) -> None:
    """points: (K, 2); shown, hidden: (K,); the outline is around limbs and keypoints."""
    shown = shown & np.isfinite(points).all(axis=1)
    if not shown.any():
        return
    # The size of the person without outliers among the keypoints.
    size = np.ptp(np.percentile(points[shown], (10, 90), axis=0), axis=0).max()
    width = int(np.clip(round(0.018 * size), 1, 8))
    limbs = [(a, b) for a, b in skeleton.limb_indices if shown[a] and shown[b]]
    for thickness, below in ((width + 2, True), (width, False)):
        for a, b in limbs:
            color = outline if below else _limb_color(skeleton, a, b)
            cv2.line(canvas, _fixed(points[a]), _fixed(points[b]), color, thickness, cv2.LINE_AA, _SHIFT)
    radius = max(1.2, 1.1 * width)
    for k in np.flatnonzero(shown):
        color = _SIDES[skeleton.sides[k]]
        _draw_disc(canvas, points[k], radius + 1, outline)
        _draw_disc(canvas, points[k], radius, color)
        if hidden[k]:
            _draw_disc(canvas, points[k], 0.6 * radius, _OUTLINE)


def _limb_color(skeleton: Skeleton, a: int, b: int) -> Color:
    sides = {skeleton.sides[a], skeleton.sides[b]} - {"middle"}
    return _SIDES[sides.pop() if len(sides) == 1 else "middle"]


def _draw_disc(canvas: np.ndarray, center: np.ndarray, radius: float, color: Color) -> None:
    if np.isfinite(center).all():
        cv2.circle(canvas, _fixed(center), round(radius * 2**_SHIFT), color, -1, cv2.LINE_AA, _SHIFT)


def _draw_box(canvas: np.ndarray, box: np.ndarray, label: str, color: Color) -> None:
    if not np.isfinite(box).all():
        return
    corner, opposite = _fixed(box[:2]), _fixed(box[2:])
    cv2.rectangle(canvas, corner, opposite, color, 1, cv2.LINE_AA, _SHIFT)
    if label:
        scale = float(np.clip(min(canvas.shape[:2]) / 900, 0.3, 0.7))
        (width, height), base = cv2.getTextSize(label, _FONT, scale, 1)
        left = int(np.clip(box[0], 0, canvas.shape[1] - width))
        bottom = int(np.clip(box[1], height + base, canvas.shape[0]))
        cv2.rectangle(canvas, (left, bottom - height - base), (left + width, bottom), color, -1)
        cv2.putText(canvas, label, (left, bottom - base + 1), _FONT, scale, _OUTLINE, 1, cv2.LINE_AA)


def _fixed(point: np.ndarray) -> tuple[int, int]:
    """Converts continuous pixels to cv2's fixed-point numbers, which are 0 at the first pixel's center."""
    # Clipped, because points far outside would overflow cv2's integers.
    x, y = ((np.clip(point, -10_000, 50_000) - 0.5) * 2**_SHIFT).round().astype(int).tolist()
    return x, y
