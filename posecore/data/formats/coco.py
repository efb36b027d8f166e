"""Reads annotation files in COCO's keypoint format: :func:`read_coco` (https://cocodataset.org/#format-data).

Files are checked: anything that would make training or evaluation silently wrong is an error that names the
file and the annotation. Fields that COCO defines but small datasets leave out (area, num_keypoints, iscrowd)
are filled in, with a warning.
"""

import json
import logging
import re
from collections import Counter, defaultdict
from collections.abc import Collection
from pathlib import Path
from typing import Any

import numpy as np
from detectron2.structures import BoxMode
from pycocotools import mask

from posecore.structures.boxes import AREA_OF_BOX
from posecore.structures.skeleton import Skeleton

logger = logging.getLogger(__name__)

# The types of numbers in a JSON file; comparing types is much faster than isinstance.
NUMBERS = frozenset({int, float, bool})


def read_coco(json_file: str | Path, skeleton: Skeleton) -> dict:
    """The content of an annotation file, checked and completed.

    Args:
        json_file: annotations of persons, or a list of images alone, as in COCO's test sets.
        skeleton: the keypoints that the file must have.

    Returns:
        COCO's own structure, coordinates as in the file, with one category, that of the persons.
        "images" with id, file_name, height, width. "annotations", missing where the file has none, with
        id, image_id, category_id, bbox (x, y, w, h), keypoints (3K numbers), iscrowd, area, num_keypoints.

    Raises:
        FileNotFoundError, ValueError: the message names the file, the annotation and what would be right.
    """
    return complete_coco(load_coco(json_file), skeleton, json_file)


def load_coco(json_file: str | Path) -> dict:
    """The unchecked content of a file in COCO's format; only its list "images" is sure to exist.

    Raises:
        FileNotFoundError, ValueError: no such file, or another format; the message names the file.
    """
    content = load_json(json_file)
    if not isinstance(content, dict) or not isinstance(content.get("images"), list):
        raise ValueError(f"{json_file} is not in COCO's format: it needs a list 'images' at its top")
    return content


def load_json(json_file: str | Path) -> Any:
    """The content of a JSON file.

    Raises:
        FileNotFoundError, ValueError: no such file, or no JSON; the message names the file.
    """
    path = Path(json_file)
    if not path.is_file():
        raise FileNotFoundError(f"annotation file {path} does not exist")
    try:
        return json.loads(path.read_bytes())
    except ValueError as error:
        raise ValueError(f"{path} is not valid JSON (is it truncated?): {error}") from error


def complete_coco(
    content: dict, skeleton: Skeleton, json_file: str | Path, *, lacking: Collection[str] = ()
) -> dict:
    """Checks and completes a content in COCO's format as :func:`read_coco` does; it is not modified.

    Readers of other formats convert their content to COCO's format and then call this, so that all formats
    have the same checks.

    Args:
        content: in COCO's format, possibly incomplete.
        skeleton: the keypoints that the content must have.
        json_file: the file of the content, for messages.
        lacking: keys of annotations that the format does not have; they are filled in without a warning.

    Raises:
        ValueError: the message names the file, the annotation and what would be right.
    """
    try:
        images = _check_images(content)
        if "annotations" not in content:
            return {"images": list(images.values())}
        category = _find_category(content, skeleton)
        # The 2014 minival lists of Detectron2 are known to repeat a few annotations.
        _check_ids(content["annotations"], images, unique="minival" not in Path(json_file).name)
        people = [dict(item) for item in content["annotations"] if item["category_id"] == category["id"]]
        notices = _complete(people, images, skeleton, lacking)
    except ValueError as error:
        raise ValueError(f"{json_file}: {error}") from error
    for notice in notices:
        logger.warning("%s: %s", json_file, notice)
    return {"images": list(images.values()), "categories": [category], "annotations": people}


def dataset_dicts(coco: dict, image_root: str | Path) -> list[dict]:
    """Detectron2's dataset dicts, one per image, sorted by image id.

    Each has file_name, image_id, height, width and, if the file has annotations, a list of them with id,
    bbox and bbox_mode (XYWH_ABS), category_id 0, iscrowd, area, num_keypoints and keypoints: 3K numbers,
    x and y in continuous pixels, so 0.5 more than in the file.

    Args:
        coco: the result of :func:`read_coco`.
        image_root: the folder of the images.
    """
    people = defaultdict(list)
    annotations = coco.get("annotations", [])
    for person, keypoints in zip(annotations, _continuous(annotations), strict=True):
        people[person["image_id"]].append(
            {
                "id": person["id"],
                "bbox": person["bbox"],
                "bbox_mode": BoxMode.XYWH_ABS,
                "category_id": 0,
                "iscrowd": person["iscrowd"],
                "area": person["area"],
                "num_keypoints": person["num_keypoints"],
                "keypoints": keypoints,
            }
        )
    dicts = []
    for image in sorted(coco["images"], key=lambda image: image["id"]):
        record = {
            "file_name": str(Path(image_root, image["file_name"])),
            "image_id": image["id"],
            "height": image["height"],
            "width": image["width"],
        }
        if "annotations" in coco:
            record["annotations"] = people[image["id"]]
        dicts.append(record)
    return dicts


def _continuous(people: list[dict]) -> list[list[float]]:
    """The keypoints of all persons in continuous pixels, 0.5 more than COCO's pixel indices."""
    keypoints = np.array([person["keypoints"] for person in people], dtype=np.float64)
    shift = np.resize([0.5, 0.5, 0], keypoints.shape[1:])
    return (keypoints + shift).tolist()


def _check_images(content: dict) -> dict:
    """The images by their ids."""
    for image in content["images"]:
        if missing := {"id", "file_name", "height", "width"} - image.keys():
            raise ValueError(f"image {image.get('id', image)} lacks {sorted(missing)}")
        for key in ("height", "width"):
            if type(image[key]) is not int or image[key] <= 0:
                raise ValueError(f"image {image['id']}: {key} must be a positive integer, not {image[key]!r}")
    images = {image["id"]: image for image in content["images"]}
    if len(images) < len(content["images"]):
        raise ValueError(f"image ids must differ; repeated: {_repeated(content['images'])}")
    return images


def _find_category(content: dict, skeleton: Skeleton) -> dict:
    """The category of the persons: the one with keypoints, or the only one."""
    categories = content.get("categories")
    if not categories:
        raise ValueError("'categories' is missing or empty: it needs one, with id, name and keypoints")
    posed = [category for category in categories if category.get("keypoints")]
    chosen = posed or categories
    if len(chosen) > 1:
        raise ValueError(
            f"one of the categories must have keypoints, not {len(posed)} of {len(categories)}: "
            f"{[category.get('name') for category in chosen]}"
        )
    (category,) = chosen
    known = {item["id"] for item in categories}
    for annotation in content["annotations"]:
        if annotation.get("category_id") not in known:
            raise ValueError(
                f"annotation {annotation.get('id')}: category_id is {annotation.get('category_id')!r}, "
                f"not one of {sorted(known)}"
            )
    if posed:
        _check_names(category, skeleton)
    return category


def _check_names(category: dict, skeleton: Skeleton) -> None:
    names = category["keypoints"]
    advice = "give the dataset the skeleton that fits (built in, or a YAML file of its own)"
    where = f"category '{category.get('name')}' and skeleton '{skeleton.name}' differ"
    if len(names) != skeleton.num_keypoints:
        raise ValueError(f"{where}: {len(names)} keypoints against {skeleton.num_keypoints}; {advice}")
    for index, (theirs, ours) in enumerate(zip(names, skeleton.keypoints, strict=True)):
        if _plain(theirs) != _plain(ours):
            raise ValueError(f"{where}: keypoint {index} is '{theirs}' against '{ours}'; {advice}")


def _plain(name: str) -> str:
    """A keypoint's name without case and punctuation: "Left Eye" and "left_eye" become "lefteye"."""
    return re.sub(r"[^a-z0-9]", "", str(name).lower())


def _check_ids(annotations: list[dict], images: dict, unique: bool) -> None:
    for annotation in annotations:
        if "id" not in annotation:
            raise ValueError(f"an annotation of image {annotation.get('image_id')} has no id")
        if annotation.get("image_id") not in images:
            raise ValueError(
                f"annotation {annotation['id']}: no image has its image_id {annotation.get('image_id')!r}"
            )
    if unique and (repeated := _repeated(annotations)):
        raise ValueError(f"annotation ids must differ; repeated: {repeated}")


def _repeated(items: list[dict]) -> list:
    counts = Counter(item["id"] for item in items)
    return [identity for identity, count in counts.items() if count > 1][:10]


def _complete(people: list[dict], images: dict, skeleton: Skeleton, lacking: Collection[str]) -> list[str]:
    """Checks the numbers of persons and fills in missing ones, in place; returns the warnings."""
    filled: Counter[str] = Counter()
    for person in people:
        if not person.get("keypoints"):
            person["keypoints"] = [0] * (3 * skeleton.num_keypoints)
            filled["keypoints"] += 1
    if people and filled["keypoints"] == len(people):
        raise ValueError("no annotation has keypoints; is this the instances file of the dataset?")
    _check_boxes(people)
    num_keypoints = skeleton.num_keypoints
    keypoints = _numbers(people, "keypoints", 3 * num_keypoints).reshape(len(people), num_keypoints, 3)
    _check_visibility(people, keypoints, skeleton)
    labeled = (keypoints[..., 2] > 0).sum(axis=1).tolist()
    for person, count in zip(people, labeled, strict=True):
        person.setdefault("iscrowd", 0)
        if person.get("num_keypoints") != count:
            person["num_keypoints"] = count
            filled["num_keypoints"] += 1
        if person.get("area") is None:
            person["area"] = _area(person, images[person["image_id"]])
            filled["area"] += 1
    explanations = {
        "keypoints": "taken as persons whose keypoints are not labeled",
        "num_keypoints": "counted from the keypoints with v > 0",
        "area": f"taken from the segmentation where there is one, else {AREA_OF_BOX} of the box",
    }
    return [
        f"{filled[key]} of {len(people)} annotations have no valid {key}: {text}"
        for key, text in explanations.items()
        if filled[key] and key not in lacking
    ]


def _numbers(people: list[dict], key: str, length: int) -> np.ndarray:
    """The numbers of a key of all persons, (n, length), checked to be finite."""
    for person in people:
        values = person.get(key)
        if not isinstance(values, list) or len(values) != length:
            found = f"{len(values)}" if isinstance(values, list) else repr(values)
            raise ValueError(f"annotation {person['id']}: {key} must be {length} numbers, not {found}")
        if not NUMBERS.issuperset(map(type, values)):
            raise ValueError(f"annotation {person['id']}: {key} must be numbers, not {values}")
    numbers = np.array([person[key] for person in people], dtype=np.float64).reshape(-1, length)
    wrong = ~np.isfinite(numbers).all(axis=1)
    if wrong.any():
        person = people[int(wrong.argmax())]
        raise ValueError(f"annotation {person['id']}: {key} must be finite, not {person[key]}")
    return numbers


def _check_boxes(people: list[dict]) -> None:
    negative = (_numbers(people, "bbox", 4)[:, 2:] < 0).any(axis=1)
    if negative.any():
        person = people[int(negative.argmax())]
        raise ValueError(
            f"annotation {person['id']}: bbox must be x, y, width >= 0, height >= 0, not {person['bbox']}"
        )


def _check_visibility(people: list[dict], keypoints: np.ndarray, skeleton: Skeleton) -> None:
    wrong = ~np.isin(keypoints[..., 2], (0, 1, 2))
    if wrong.any():
        row, column = np.argwhere(wrong)[0]
        raise ValueError(
            f"annotation {people[row]['id']}: the v of keypoint '{skeleton.keypoints[column]}' must be 0 "
            f"(not labeled), 1 (hidden) or 2 (visible), not {keypoints[row, column, 2]}"
        )


def _area(person: dict, image: dict) -> float:
    segmentation = person.get("segmentation")
    if not segmentation:
        return AREA_OF_BOX * person["bbox"][2] * person["bbox"][3]
    size = image["height"], image["width"]
    if isinstance(segmentation, list) or isinstance(segmentation["counts"], list):
        segmentation = mask.frPyObjects(segmentation, *size)
    return float(mask.area(mask.merge(segmentation) if isinstance(segmentation, list) else segmentation))
