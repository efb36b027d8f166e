"""Reads CrowdPose's annotation files (arXiv 1812.00324): COCO's format, and how crowded each image is."""

from pathlib import Path

from posecore.data.formats.coco import complete_coco, load_coco
from posecore.structures.skeleton import Skeleton

# Its files call "head" what everybody who lists its skeleton calls "top_head"; it is the same point.
_ALIASES = {"head": "top_head"}


def read_crowdpose(json_file: str | Path, skeleton: Skeleton) -> dict:
    """As :func:`posecore.data.formats.coco.read_coco`; each image also has its ``crowdIndex``.

    The files give no areas, and count as ``num_keypoints`` only those with v = 2. Here an area is 0.53 of
    the box, as CrowdPose's evaluation has it, and every labeled keypoint is counted, as elsewhere.

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
