"""Reads COCO-WholeBody's annotation files, COCO's persons with feet, face and hands: :func:`read_wholebody`.

The format is that of arXiv 2007.11858.
"""

from itertools import accumulate
from pathlib import Path

from posecore.data.formats.coco import NUMBERS, complete_coco, load_coco
from posecore.structures.skeleton import Skeleton

# Key of a person's keypoints -> number of keypoints, in the order of the skeleton coco_wholebody_133.
PARTS = {"keypoints": 17, "foot_kpts": 6, "face_kpts": 68, "lefthand_kpts": 21, "righthand_kpts": 21}
NUM_KEYPOINTS = sum(PARTS.values())

# Key -> its slice of the 133 keypoints.
PART_SLICES = {
    key: slice(end - count, end)
    for (key, count), end in zip(PARTS.items(), accumulate(PARTS.values()), strict=True)
}


def read_wholebody(json_file: str | Path, skeleton: Skeleton) -> dict:
    """Reads a file as :func:`posecore.data.formats.coco.read_coco` does, with parts joined to 133 keypoints.

    A part whose flag (``foot_valid``, ``face_valid``, ``lefthand_valid``, ``righthand_valid``) is false is
    not labeled. In the files the v of feet, face and hands may be any number in [0, 1]; one above 0 means
    labeled, and becomes 2.

    Raises:
        FileNotFoundError, ValueError: as ``read_coco``, or a part is missing or of another length.
    """
    if skeleton.num_keypoints != NUM_KEYPOINTS:
        raise ValueError(
            f"{json_file}: COCO-WholeBody has {NUM_KEYPOINTS} keypoints, but skeleton '{skeleton.name}' has "
            f"{skeleton.num_keypoints}; it should be coco_wholebody_133"
        )
    content = load_coco(json_file)
    if "annotations" in content:
        try:
            people = [person | {"keypoints": _join(person)} for person in content["annotations"]]
        except ValueError as error:
            raise ValueError(f"{json_file}: {error}") from error
        content = content | {"annotations": people}
    # The category lists the body's keypoints alone.
    others = list(skeleton.keypoints[PARTS["keypoints"] :])
    categories = [
        category | {"keypoints": list(category["keypoints"]) + others}
        if category.get("keypoints")
        else category
        for category in content.get("categories") or []
    ]
    content = content | {"categories": categories}
    return complete_coco(content, skeleton, json_file, lacking=("num_keypoints",))


def split_parts(keypoints: list[float]) -> dict[str, list[float]]:
    """The keypoints (133 * 3 numbers) of a person by the keys of COCO-WholeBody's files."""
    return {key: keypoints[3 * part.start : 3 * part.stop] for key, part in PART_SLICES.items()}


def _join(person: dict) -> list[float]:
    joined: list[float] = []
    for key, count in PARTS.items():
        values = person.get(key)
        if not isinstance(values, list) or len(values) != 3 * count:
            found = f"{len(values)}" if isinstance(values, list) else repr(values)
            raise ValueError(f"annotation {person.get('id')}: {key} must be {3 * count} numbers, not {found}")
        if not person.get(key.replace("_kpts", "_valid"), True):
            values = [0] * len(values)
        elif key != "keypoints":
            if not NUMBERS.issuperset(map(type, values)):
                raise ValueError(f"annotation {person.get('id')}: {key} must be numbers, not {values}")
            values = list(values)
            values[2::3] = [2 if v > 0 else v for v in values[2::3]]
        joined += values
    return joined
