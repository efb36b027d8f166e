"""Reads MPII Human Pose annotations in the JSON form that HRNet introduced and MMPose keeps.

A file is a list of persons, each with ``image``, ``center`` and ``scale`` (of the person's height in units of
200 pixels), and, but for the test set, ``joints`` (K pairs) and ``joints_vis`` (K numbers, 1 for labeled).
Pixels count from 1. A person has no box.
"""

import functools
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image, UnidentifiedImageError

from posecore.data.formats.coco import complete_coco, load_json
from posecore.structures.skeleton import Skeleton

# Pixels per unit of scale; and how far below the given center the whole body's is, per unit of scale.
PIXELS_PER_SCALE = 200
_LOWER = 15


def read_mpii(json_file: str | Path, image_root: str | Path, skeleton: Skeleton) -> dict:
    """The persons of a file in COCO's structure, as :func:`posecore.data.formats.coco.read_coco` returns it.

    Annotation ``i + 1`` is the person at place i of the file, which is also their place in the ground truth
    of the evaluation. The box is a square of 200 * scale around the center moved down by 15 * scale, so
    that a top-down method that enlarges boxes by 1.25 sees the customary region; it may leave the image.
    Joints and boxes count from 0 here. Sizes are read from the images, since the file has none.

    Raises:
        FileNotFoundError, ValueError: the message names the file and the person, or the image.
    """
    people = load_json(json_file)
    if not isinstance(people, list) or not all(isinstance(person, dict) for person in people):
        raise ValueError(f"{json_file} is not in MPII's JSON form: it needs a list of persons at its top")
    try:
        annotations = [_annotation(index, person, skeleton) for index, person in enumerate(people)]
    except ValueError as error:
        raise ValueError(f"{json_file}: {error}") from error
    names = list(dict.fromkeys(person["image"] for person in people))
    ids = {name: image_id for image_id, name in enumerate(names, start=1)}
    for annotation, person in zip(annotations, people, strict=True):
        annotation["image_id"] = ids[person["image"]]
    images = []
    for name, image_id in ids.items():
        width, height = image_size(Path(image_root, name))
        images.append({"id": image_id, "file_name": name, "height": height, "width": width})
    category = {"id": 1, "name": "person", "keypoints": list(skeleton.keypoints)}
    content = {"images": images, "categories": [category], "annotations": annotations}
    return complete_coco(content, skeleton, json_file, lacking=("area", "num_keypoints"))


@functools.cache
def image_size(path: Path) -> tuple[int, int]:
    """Width and height by the file's header; remembered, since a dataset is read more than once.

    Raises:
        FileNotFoundError, ValueError: no such file, or no image; the message names it.
    """
    try:
        with Image.open(path) as image:
            return image.size
    except FileNotFoundError as error:
        raise FileNotFoundError(f"image {path} does not exist") from error
    except UnidentifiedImageError as error:
        raise ValueError(f"image {path} cannot be read: {error}") from error


def _annotation(index: int, person: dict, skeleton: Skeleton) -> dict[str, Any]:
    """A person as COCO has it, but for the image."""
    if not isinstance(person.get("image"), str):
        raise ValueError(f"person {index}: image must be a file name, not {person.get('image')!r}")
    scale = _numbers(index, person, "scale", (1,)).item()
    if scale <= 0:
        raise ValueError(f"person {index}: scale must be above 0, not {scale}")
    x, y = _numbers(index, person, "center", (2,)).tolist()
    side = PIXELS_PER_SCALE * scale
    keypoints = np.zeros((skeleton.num_keypoints, 3))
    if "joints" in person:
        joints = _numbers(index, person, "joints", (skeleton.num_keypoints, 2))
        labeled = _numbers(index, person, "joints_vis", (skeleton.num_keypoints,)) > 0
        keypoints[labeled, :2] = joints[labeled] - 1
        keypoints[labeled, 2] = 2
    return {
        "id": index + 1,
        "category_id": 1,
        "bbox": [x - 1 - side / 2, y - 1 + _LOWER * scale - side / 2, side, side],
        "keypoints": keypoints.ravel().tolist(),
    }


def _numbers(index: int, person: dict, key: str, shape: tuple[int, ...]) -> np.ndarray:
    """Finite numbers of a shape."""
    try:
        values = np.array(person.get(key), dtype=np.float64).reshape(shape)
    except (TypeError, ValueError) as error:
        what = " times ".join(map(str, shape))
        raise ValueError(f"person {index}: {key} must be {what} numbers, not {person.get(key)}") from error
    if not np.isfinite(values).all():
        raise ValueError(f"person {index}: {key} must be finite, not {person.get(key)}")
    return values
