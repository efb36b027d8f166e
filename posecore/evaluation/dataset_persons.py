"""The persons of a dataset as arrays: :class:`Persons`."""

from dataclasses import dataclass
from pathlib import Path

import numpy as np

from posecore.data.formats.coco import image_path
from posecore.structures.skeleton import Skeleton


@dataclass(frozen=True)
class Persons:
    """The n persons of a dataset that are no crowds.

    Attributes:
        ids: (n,), of their annotations.
        files: (n,), paths of their images.
        keypoints: (n, K, 3), x and y in COCO's pixels and v.
        boxes: (n, 4), x, y, width, height.
        areas: (n,), square pixels.
        image_sizes: (n, 2), width and height of their images.
    """

    ids: np.ndarray
    files: np.ndarray
    keypoints: np.ndarray
    boxes: np.ndarray
    areas: np.ndarray
    image_sizes: np.ndarray

    @property
    def labeled(self) -> np.ndarray:
        """(n, K) bool."""
        return self.keypoints[..., 2] > 0


def gather_persons(content: dict, skeleton: Skeleton, image_root: str | Path) -> Persons:
    """The persons of a dataset's content that are no crowds, as arrays.

    Args:
        content: as :func:`posecore.data.read_coco` returns it, with annotations.
        skeleton: of K keypoints.
        image_root: the folder of the images.
    """
    people = [person for person in content["annotations"] if not person["iscrowd"]]
    sizes = {image["id"]: (image["width"], image["height"]) for image in content["images"]}
    files = {image["id"]: _path(image_root, image) for image in content["images"]}
    count = len(people)
    return Persons(
        ids=np.array([person["id"] for person in people]),
        files=np.array([files[person["image_id"]] for person in people], dtype=object),
        keypoints=np.array([person["keypoints"] for person in people], dtype=float).reshape(
            count, skeleton.num_keypoints, 3
        ),
        boxes=np.array([person["bbox"] for person in people], dtype=float).reshape(count, 4),
        areas=np.array([person["area"] for person in people], dtype=float),
        image_sizes=np.array([sizes[person["image_id"]] for person in people], dtype=float).reshape(count, 2),
    )


def _path(image_root: str | Path, image: dict) -> str:
    """The path of an image, also where there is no such file."""
    try:
        return str(image_path(image_root, image))
    except FileNotFoundError:
        return str(Path(image_root, image["file_name"]))
