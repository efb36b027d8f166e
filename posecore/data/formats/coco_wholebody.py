"""Reads COCO-WholeBody's annotation files, COCO's persons with feet, face and hands: :func:`read_wholebody`.

The format is that of arXiv 2007.11858.
"""

from collections.abc import Mapping
from itertools import accumulate
from pathlib import Path
from typing import Annotated, Any

from pydantic import Field, StrictBool

from posecore.data.formats.coco import complete_coco, load_coco
from posecore.data.formats.document import MAX_COORDINATE, Coordinate, Entry, validated
from posecore.structures.skeleton import Skeleton

# Key of a person's keypoints -> number of keypoints, in the order of the skeleton coco_wholebody_133.
PARTS = {"keypoints": 17, "foot_kpts": 6, "face_kpts": 68, "lefthand_kpts": 21, "righthand_kpts": 21}
NUM_KEYPOINTS = sum(PARTS.values())

# Key -> its slice of the 133 keypoints.
PART_SLICES = {
    key: slice(end - count, end)
    for (key, count), end in zip(PARTS.items(), accumulate(PARTS.values()), strict=True)
}


def _part(key: str) -> Any:
    length = 3 * PARTS[key]
    words = f"{length} numbers (x, y, v of each keypoint), finite and up to {MAX_COORDINATE}"
    return Field(min_length=length, max_length=length, description=words)


Valid = Annotated[StrictBool, Field(description="true or false")]


class WholeBodyEntry(Entry):
    """What an entry of "annotations" must have besides what COCO's have."""

    keypoints: Annotated[list[Coordinate], _part("keypoints")]
    foot_kpts: Annotated[list[Coordinate], _part("foot_kpts")]
    face_kpts: Annotated[list[Coordinate], _part("face_kpts")]
    lefthand_kpts: Annotated[list[Coordinate], _part("lefthand_kpts")]
    righthand_kpts: Annotated[list[Coordinate], _part("righthand_kpts")]
    foot_valid: Valid = True
    face_valid: Valid = True
    lefthand_valid: Valid = True
    righthand_valid: Valid = True


def read_wholebody(json_file: str | Path, skeleton: Skeleton) -> dict:
    """Reads a file as :func:`posecore.data.formats.coco.read_coco` does, with parts joined to 133 keypoints.

    A part whose flag (``foot_valid``, ``face_valid``, ``lefthand_valid``, ``righthand_valid``) is false is
    not labeled. In the files the v of feet, face and hands may be any number from 0 to 2, often a share; one
    above 0 means labeled, and becomes 2.

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
        annotations = content["annotations"]
        try:
            checked = validated(annotations, WholeBodyEntry, "annotation")
            people = [
                person | {"keypoints": _join(person, entry)}
                for person, entry in zip(annotations, checked, strict=True)
            ]
        except ValueError as error:
            raise ValueError(f"{json_file}: {error}") from error
        content = content | {"annotations": people}
    # The category lists the body's keypoints alone.
    others = list(skeleton.keypoints[PARTS["keypoints"] :])
    return complete_coco(
        content, skeleton, json_file, lacking=("num_keypoints",), names=lambda body: [*body, *others]
    )


def split_parts(keypoints: list[float]) -> dict[str, list[float]]:
    """The keypoints (133 * 3 numbers) of a person by the keys of COCO-WholeBody's files."""
    return {key: keypoints[3 * part.start : 3 * part.stop] for key, part in PART_SLICES.items()}


def join_parts(person: Mapping[str, Any]) -> dict[str, Any]:
    """A person or a pose whose parts are split (:func:`split_parts`), with its 133 keypoints in one list.

    What lacks a part, or has something else than a list in its place, is returned as it is.
    """
    if not all(isinstance(person.get(key), list) for key in PARTS):
        return dict(person)
    others = {key: value for key, value in person.items() if key not in PARTS}
    return others | {"keypoints": [value for key in PARTS for value in person[key]]}


def _join(person: dict, entry: WholeBodyEntry) -> list[float]:
    joined: list[float] = []
    for key in PARTS:
        values = person[key]
        if not getattr(entry, key.replace("_kpts", "_valid"), True):
            values = [0] * len(values)
        elif key != "keypoints":
            values = list(values)
            values[2::3] = [2 if 0 < v <= 2 else v for v in values[2::3]]
        joined += values
    return joined
