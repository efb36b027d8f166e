"""Reads MPII Human Pose annotations in the JSON format of HRNet and MMPose: :func:`read_mpii`.

A file is a list of persons. Each has ``image``, ``center`` and ``scale`` (the person's height in units of 200
pixels), and, except in the test set, ``joints`` (K pairs) and ``joints_vis`` (K numbers, 1 for labeled).
Pixels count from 1. A person has no box.
"""

from pathlib import Path
from typing import Any

import numpy as np

from posecore.data.formats.coco import complete_coco, load_json
from posecore.data.images import image_size
from posecore.structures.skeleton import Skeleton

# Pixels per unit of scale.
PIXELS_PER_SCALE = 200
# Pixels, per unit of scale, by which the center of the whole body is below the annotated center.
_LOWER = 15


def read_mpii(json_file: str | Path, image_root: str | Path, skeleton: Skeleton) -> dict:
    """The persons of a file in COCO's structure, as :func:`posecore.data.formats.coco.read_coco` returns it.

    The annotation with id ``i + 1`` is person i of the file, counted from 0, also in the evaluation. The box
    is a square of side 200 * scale around the center moved down by 15 * scale, so that a top-down method that
    enlarges boxes by 1.25 gets the customary region; it may extend beyond the image.
    Joints and boxes count pixels from 0. Image sizes are read from the images, because the file has none.

    Raises:
        FileNotFoundError, ValueError: the message names the file and the person, or the image.
    """
    people = load_json(json_file)
    if not isinstance(people, list) or not all(isinstance(person, dict) for person in people):
        raise ValueError(f"{json_file} is not in MPII's JSON format: it must be a list of persons")
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


def _annotation(index: int, person: dict, skeleton: Skeleton) -> dict[str, Any]:
    """A person in COCO's format, still without image_id."""
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
    """The numbers of a key as an array of a shape, checked to be finite."""
    try:
        values = np.array(person.get(key), dtype=np.float64).reshape(shape)
    except (TypeError, ValueError) as error:
        what = " times ".join(map(str, shape))
        raise ValueError(f"person {index}: {key} must be {what} numbers, not {person.get(key)}") from error
    if not np.isfinite(values).all():
        raise ValueError(f"person {index}: {key} must be finite, not {person.get(key)}")
    return values
