"""Reads MPII Human Pose annotations in the JSON format of HRNet and MMPose: :func:`read_mpii`.

A file is a list of persons. Each has ``image``, ``center`` and ``scale`` (the person's height in units of 200
pixels), and, except in the test set, ``joints`` (K pairs) and ``joints_vis`` (K numbers, 1 for labeled).
Pixels count from 1. A person has no box.
"""

from pathlib import Path
from typing import Any

import numpy as np
from pydantic import Field

from posecore.data.formats.coco import complete_coco
from posecore.data.formats.document import (
    MAX_COORDINATE,
    Coordinate,
    Entry,
    FileName,
    Flag,
    Number,
    load_json,
    short,
    validated,
)
from posecore.data.images import image_size
from posecore.structures.skeleton import Skeleton

# Pixels per unit of scale.
PIXELS_PER_SCALE = 200
# A person of this scale is as high as the greatest coordinate.
MAX_SCALE = MAX_COORDINATE // PIXELS_PER_SCALE
# Pixels, per unit of scale, by which the center of the whole body is below the annotated center.
_LOWER = 15


class MPIIEntry(Entry):
    """A person. In the test set, joints and joints_vis are missing."""

    image: FileName
    center: tuple[Coordinate, Coordinate] = Field(description="2 numbers, x and y, finite")
    scale: Number = Field(gt=0, le=MAX_SCALE, description=f"a number above 0 and up to {MAX_SCALE}")
    joints: list[tuple[Coordinate, Coordinate]] | None = Field(
        None, description="a list of x and y of each joint, finite numbers"
    )
    joints_vis: list[Flag] | None = Field(None, description="a list of 0 or 1 for each joint")


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
    if not isinstance(people, list) or not people:
        raise ValueError(f"{json_file} is not in MPII's JSON format: it must be a list of one person or more")
    try:
        persons = list(validated(people, MPIIEntry, "person"))
        annotations = [_annotation(index, person, skeleton) for index, person in enumerate(persons)]
        _check_joints(persons)
    except ValueError as error:
        raise ValueError(f"{json_file}: {error}") from error
    names = list(dict.fromkeys(person.image for person in persons))
    ids = {name: image_id for image_id, name in enumerate(names, start=1)}
    for annotation, person in zip(annotations, persons, strict=True):
        annotation["image_id"] = ids[person.image]
    images = []
    for name, image_id in ids.items():
        width, height = image_size(Path(image_root, name))
        images.append({"id": image_id, "file_name": name, "height": height, "width": width})
    category = {"id": 1, "name": "person", "keypoints": list(skeleton.keypoints)}
    content = {"images": images, "categories": [category], "annotations": annotations}
    return complete_coco(content, skeleton, json_file, lacking=("area", "num_keypoints", "iscrowd"))


def _check_joints(persons: list[MPIIEntry]) -> None:
    """A test set has no joints; otherwise every person has them."""
    without = [index for index, person in enumerate(persons) if person.joints is None]
    if without and len(without) < len(persons):
        raise ValueError(
            f"person at index {without[0]}: joints is missing; all persons must have them, or none, as in "
            "the test set"
        )


def _annotation(index: int, person: MPIIEntry, skeleton: Skeleton) -> dict[str, Any]:
    """A person in COCO's format, still without image_id."""
    x, y = person.center
    side = PIXELS_PER_SCALE * person.scale
    keypoints = np.zeros((skeleton.num_keypoints, 3))
    if person.joints is not None:
        joints, labeled = np.array(person.joints), np.array(person.joints_vis, dtype=np.bool_)
        if joints.shape != (skeleton.num_keypoints, 2):
            raise ValueError(
                f"person at index {index}: joints must be {skeleton.num_keypoints} times 2 numbers, not "
                f"{len(joints)}"
            )
        if labeled.shape != (skeleton.num_keypoints,):
            raise ValueError(
                f"person at index {index}: joints_vis must be {skeleton.num_keypoints} numbers, not "
                f"{short(person.joints_vis)}"
            )
        keypoints[labeled, :2] = joints[labeled] - 1
        keypoints[labeled, 2] = 2
    return {
        "id": index + 1,
        "category_id": 1,
        "bbox": [x - 1 - side / 2, y - 1 + _LOWER * person.scale - side / 2, side, side],
        "keypoints": keypoints.ravel().tolist(),
    }
