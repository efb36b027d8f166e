"""Draws images of jointed figures, with ground truth in COCO's format: :func:`make_dataset`.

    python -m posecore.data.synthetic --out DIR --train 400 --val 50 --size 160

Image i of a split depends on the seed, the split and i alone, not on the number of images. The left and the
right of a figure differ in color, which a flip would swap: train without flips (INPUT.RANDOM_FLIP none).
"""

import json
import zlib
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import yaml

from posecore.data.image_writer import write_image
from posecore.data.synthetic.figures import Capsule, Figure, figure_maker
from posecore.structures.skeleton import load_skeleton

# In the cover, a map of what is in front at each pixel: figures are their index, and these are the others.
_BACKGROUND, _OBJECT = -1, -2


@dataclass(frozen=True)
class Scene:
    """The contents of images.

    Attributes:
        people: least and greatest number of persons.
        scale: least and greatest height of a person, as a share of the image's height.
        cut: share of the persons that may be partly outside the image.
        objects: share of the persons with an object in front of them.
        crowds: share of the images with a crowd of small figures, annotated as one region.
    """

    people: tuple[int, int] = (1, 3)
    scale: tuple[float, float] = (0.4, 0.9)
    cut: float = 0.2
    objects: float = 0.2
    crowds: float = 0.0


def make_dataset(
    folder: str | Path,
    *,
    num_images: int,
    size: tuple[int, int] = (160, 160),
    skeleton: str | Path = "coco_17",
    split: str = "train",
    seed: int = 0,
    name: str = "synthetic",
    **scene: Any,
) -> Path:
    """Writes images, annotations and a definition of the dataset.

    Args:
        folder: gets <split>/ with the images, annotations/<split>.json and <split>.yaml.
        num_images: number of images.
        size: height and width, pixels.
        skeleton: name or YAML path; :func:`posecore.structures.skeleton.load_skeleton`.
        split: name of the files; images of different splits differ.
        seed: any integer from 0.
        name: the dataset is called <name>_<split>.
        **scene: attributes of :class:`Scene`.

    Returns:
        The path of the definition file, for DATASETS.DEFINITIONS.
    """
    folder, shown = Path(folder), Scene(**scene)
    kind = load_skeleton(skeleton)
    make_figure = figure_maker(kind)
    images: list[dict] = []
    annotations: list[dict] = []
    (folder / split).mkdir(parents=True, exist_ok=True)
    (folder / "annotations").mkdir(exist_ok=True)
    for index in range(num_images):
        rng = np.random.default_rng([seed, zlib.crc32(split.encode()), index])
        image, people = make_image(rng, make_figure, size, shown)
        file_name = f"{index + 1:06d}.jpg"
        write_image(folder / split / file_name, image)
        images.append({"id": index + 1, "file_name": file_name, "height": size[0], "width": size[1]})
        for person in people:
            identity = len(annotations) + 1
            annotations.append({"id": identity, "image_id": index + 1, "category_id": 1} | person)
    limbs = [[a + 1, b + 1] for a, b in kind.limb_indices]
    category = {"id": 1, "name": "person", "keypoints": list(kind.keypoints), "skeleton": limbs}
    content = {"images": images, "annotations": annotations, "categories": [category]}
    (folder / "annotations" / f"{split}.json").write_text(json.dumps(content))
    shipped = Path(skeleton).suffix not in (".yaml", ".yml")
    definition = {
        "name": f"{name}_{split}",
        "annotations": f"annotations/{split}.json",
        "images": split,
        "skeleton": str(skeleton) if shipped else str(Path(skeleton).resolve()),
    }
    path = folder / f"{split}.yaml"
    path.write_text(yaml.safe_dump(definition, sort_keys=False))
    return path


def make_image(
    rng: np.random.Generator,
    make_figure: Callable[[np.random.Generator], Figure],
    size: tuple[int, int],
    scene: Scene,
) -> tuple[np.ndarray, list[dict]]:
    """One image, (H, W, 3) uint8 RGB, and the annotations of its persons, without ids."""
    image = draw_background(rng, size)
    cover = np.full(size, _BACKGROUND)
    crowd = rng.random() < scene.crowds
    people = [_draw_crowd(rng, make_figure, image, cover)] if crowd else []
    count = rng.integers(scene.people[0], scene.people[1] + 1)
    # Larger figures are nearer, so they are drawn last.
    heights = np.sort(rng.uniform(*scene.scale, count)) * size[0]
    figures: list[Figure] = []
    for height in heights:
        figures.append(_place(rng, make_figure, height, figures, size, rng.random() < scene.cut))
    bodies = []
    for index, figure in enumerate(figures):
        bodies.append(draw_figure(rng, image, cover, figure, index))
        if rng.random() < scene.objects:
            _draw_object(rng, image, cover, figure)
    for index, (figure, body) in enumerate(zip(figures, bodies, strict=True)):
        if body.any():  # a figure may be outside the image
            people.append(annotate(figure, body, cover == index))
    image += rng.normal(0, 4, image.shape)
    return image.clip(0, 255).astype(np.uint8), people


def draw_background(rng: np.random.Generator, size: tuple[int, int]) -> np.ndarray:
    """(H, W, 3) float: smooth patches of several sizes, and a few bars and blobs."""
    height, width = size
    image: np.ndarray = np.zeros((height, width, 3))
    for cells, strength in ((2, 60), (6, 40), (24, 25)):
        gray = rng.uniform(-strength, strength, (cells, cells, 1))
        grid = gray + rng.uniform(-0.4, 0.4, (cells, cells, 3)) * strength
        image += cv2.resize(grid, (width, height), interpolation=cv2.INTER_CUBIC)
    image += rng.uniform(90, 165)
    cover = np.zeros(size, dtype=int)
    for _ in range(rng.integers(2, 8)):
        start, end = rng.uniform(0, 1, (2, 2)) * (width, height)
        radius = rng.uniform(0.01, 0.08) * height
        part = Capsule(start, end, (radius, radius), tuple(rng.uniform(20, 235, 3)))
        _stamp(image, cover, part, part.color, _BACKGROUND)
    return image


def _place(
    rng: np.random.Generator,
    make_figure: Callable[[np.random.Generator], Figure],
    height: float,
    others: list[Figure],
    size: tuple[int, int],
    cut: bool,
) -> Figure:
    """A figure of this height in the image, if possible where most of the other figures stay visible."""
    figure = make_figure(rng)
    x1, y1, x2, y2 = figure.extent()
    scale = min(height / (y2 - y1), 0.95 * size[1] / (x2 - x1))
    figure = figure.placed(np.array([-(x1 + x2), -(y1 + y2)]) * scale / 2, scale)
    half = figure.extent()[2:]
    room = np.array(size[::-1])
    margin = half * 0.2 if cut else half
    centers = rng.uniform(np.minimum(margin, room / 2), np.maximum(room - margin, room / 2), (30, 2))
    taken = np.array([other.extent() for other in others]).reshape(-1, 4)
    overlap = [_covered(taken, np.concatenate([center - half, center + half])) for center in centers]
    return figure.placed(centers[int(np.argmin(np.maximum(overlap, 0.3)))], 1)


def _covered(boxes: np.ndarray, box: np.ndarray) -> float:
    """The greatest share of one of the boxes (n, 4) that a box (4,) covers."""
    sides = np.minimum(boxes[:, 2:], box[2:]) - np.maximum(boxes[:, :2], box[:2])
    areas = (boxes[:, 2:] - boxes[:, :2]).prod(axis=1)
    return float((sides.clip(0).prod(axis=1) / areas).max(initial=0))


def draw_figure(
    rng: np.random.Generator, image: np.ndarray, cover: np.ndarray, figure: Figure, index: int
) -> np.ndarray:
    """Draws a figure; returns the mask of its body, (H, W), including parts that are covered later."""
    tint, light = rng.normal(0, 8, 3), rng.uniform(0.8, 1.1)
    body = np.full(cover.shape, _BACKGROUND)
    for part in figure.capsules:
        _stamp(image, body, part, tuple(np.add(part.color, tint) * light), index)
    cover[body == index] = index
    return body == index


def _draw_object(rng: np.random.Generator, image: np.ndarray, cover: np.ndarray, figure: Figure) -> None:
    """Draws a bar across a part of the figure."""
    x1, y1, x2, y2 = figure.extent()
    center = rng.uniform((x1, y1), (x2, y2))
    half = rng.uniform(-0.3, 0.3, 2) * (x2 - x1, y2 - y1)
    radius = rng.uniform(0.04, 0.1) * (y2 - y1)
    part = Capsule(center - half, center + half, (radius, radius), tuple(rng.uniform(20, 235, 3)))
    _stamp(image, cover, part, part.color, _OBJECT)


def _draw_crowd(
    rng: np.random.Generator,
    make_figure: Callable[[np.random.Generator], Figure],
    image: np.ndarray,
    cover: np.ndarray,
) -> dict:
    """Draws small figures side by side at the top; returns the annotation of their common region."""
    height, width = cover.shape
    count = int(rng.integers(5, 10))
    start, step = rng.uniform(0, 0.4) * width, 0.06 * width
    masks = []
    for index in range(count):
        origin = np.array([start + (index + 0.5) * step, rng.uniform(0.12, 0.16) * height])
        figure = make_figure(rng).placed(origin, rng.uniform(0.13, 0.16) * height)
        masks.append(draw_figure(rng, image, cover, figure, _OBJECT))
    region = np.any(masks, axis=0)
    return _region(region) | {
        "keypoints": [0] * (3 * len(figure.keypoints)),
        "num_keypoints": 0,
        "iscrowd": 1,
    }


def annotate(figure: Figure, body: np.ndarray, seen: np.ndarray) -> dict:
    """The annotation of a figure.

    Args:
        figure: placed in the image.
        body: (H, W) bool, its mask.
        seen: (H, W) bool, where nothing is in front of it.
    """
    height, width = body.shape
    keypoints = []
    for x, y in figure.keypoints.round(2):
        inside = 0 <= x < width and 0 <= y < height
        # COCO's coordinates are pixel indices: 0.5 less than continuous pixels.
        keypoints += [x - 0.5, y - 0.5, 2 if seen[int(y), int(x)] else 1] if inside else [0, 0, 0]
    labeled = sum(v > 0 for v in keypoints[2::3])
    return _region(body) | {"keypoints": keypoints, "num_keypoints": labeled, "iscrowd": 0}


def _region(mask: np.ndarray) -> dict:
    """The box and the area of a mask, (H, W), as COCO annotates them."""
    columns, rows = np.flatnonzero(mask.any(axis=0)), np.flatnonzero(mask.any(axis=1))
    x, y = int(columns[0]), int(rows[0])
    box = [x, y, int(columns[-1]) + 1 - x, int(rows[-1]) + 1 - y]
    return {"bbox": box, "area": int(mask.sum())}


def _stamp(image: np.ndarray, cover: np.ndarray, part: Capsule, color: tuple[float, ...], mark: int) -> None:
    """Draws a capsule, darker towards its antialiased edge, and marks its pixels in the cover."""
    radius = max(part.radii)
    limit = image.shape[1::-1]
    low = np.floor(np.minimum(part.start, part.end) - radius - 1).astype(int).clip(0, limit)
    high = np.ceil(np.maximum(part.start, part.end) + radius + 1).astype(int).clip(0, limit)
    window = np.s_[low[1] : high[1], low[0] : high[0]]
    x = np.arange(low[0], high[0]) + 0.5 - part.start[0]
    y = (np.arange(low[1], high[1]) + 0.5 - part.start[1])[:, None]
    bone = part.end - part.start
    along = ((x * bone[0] + y * bone[1]) / max(bone @ bone, 1e-9)).clip(0, 1)
    distance = np.hypot(x - along * bone[0], y - along * bone[1])
    radii = part.radii[0] + along * (part.radii[1] - part.radii[0])
    opacity = (radii - distance + 0.5).clip(0, 1)[..., None]
    shade = 1 - 0.3 * (distance / radii).clip(0, 1)[..., None] ** 2
    image[window] += opacity * (shade * color - image[window])
    cover[window][opacity[..., 0] > 0.5] = mark
