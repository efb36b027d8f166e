"""Reads CrowdPose's annotation files, COCO's format with a crowd index per image: :func:`read_crowdpose`.

The format is that of arXiv 1812.00324.
"""

from pathlib import Path

from posecore.data.formats.coco import complete_coco, load_coco
from posecore.structures.skeleton import Skeleton

# Keypoints with another name in the files than in common lists of CrowdPose's skeleton.
_ALIASES = {"head": "top_head"}


def read_crowdpose(json_file: str | Path, skeleton: Skeleton) -> dict:
    """Reads a file as :func:`posecore.data.formats.coco.read_coco` does; images also have a ``crowdIndex``.

    The files have no areas, and their ``num_keypoints`` counts only keypoints with v = 2. Here an area is
    0.53 of the box, as in CrowdPose's evaluation, and ``num_keypoints`` counts all labeled keypoints.

    Raises:
        FileNotFoundError, ValueError: as ``read_coco``, or a crowdIndex is missing or not in [0, 1].
    """
    content = load_coco(json_file)
    for image in content["images"]:
        index = image.get("crowdIndex")
        if not isinstance(index, int | float) or not 0 <= index <= 1:
            raise ValueError(
                f"{json_file}: image {image.get('id')}: crowdIndex must be a number in [0, 1], not {index!r}"
            )
    categories = [
        category | {"keypoints": [_ALIASES.get(name, name) for name in category.get("keypoints") or []]}
        for category in content.get("categories") or []
    ]
    content = content | {"categories": categories}
    return complete_coco(content, skeleton, json_file, lacking=("area", "num_keypoints"))
