"""Reads CrowdPose's annotation files, COCO's format with a crowd index per image: :func:`read_crowdpose`.

The format is that of arXiv 1812.00324.
"""

from pathlib import Path

from pydantic import Field

from posecore.data.formats.coco import complete_coco, load_coco
from posecore.data.formats.document import Entry, Number, validated
from posecore.structures.skeleton import Skeleton

# Keypoints with another name in the files than in common lists of CrowdPose's skeleton.
_ALIASES = {"head": "top_head"}


class CrowdPoseImageEntry(Entry):
    """What an entry of "images" must have besides what COCO's have."""

    crowdIndex: Number = Field(ge=0, le=1, description="a number in [0, 1]")  # noqa: N815


def read_crowdpose(json_file: str | Path, skeleton: Skeleton) -> dict:
    """Reads a file as :func:`posecore.data.formats.coco.read_coco` does; images also have a ``crowdIndex``.

    The files have no areas, and their ``num_keypoints`` counts only keypoints with v = 2. Here an area is
    0.53 of the box, as in CrowdPose's evaluation, and ``num_keypoints`` counts all labeled keypoints.

    Raises:
        FileNotFoundError, ValueError: as ``read_coco``, or a crowdIndex is missing or not in [0, 1].
    """
    content = load_coco(json_file)
    try:
        for _ in validated(content["images"], CrowdPoseImageEntry, "image"):
            pass
    except ValueError as error:
        raise ValueError(f"{json_file}: {error}") from error
    return complete_coco(
        content,
        skeleton,
        json_file,
        lacking=("area", "num_keypoints"),
        names=lambda names: [_ALIASES.get(name, name) for name in names],
    )
