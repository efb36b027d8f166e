"""Reads annotation files in COCO's keypoint format: :func:`read_coco` (https://cocodataset.org/#format-data).

The entries of a file are declared here: :class:`ImageEntry`, :class:`CategoryEntry`,
:class:`AnnotationEntry` and :class:`PersonEntry`. Anything that would make training or evaluation silently
wrong is an error that names the file, the annotation and the field. Fields that COCO defines but small
datasets leave out (area, num_keypoints, iscrowd) are filled in, with a warning.
"""

import logging
import re
from collections import Counter, defaultdict
from collections.abc import Callable, Collection
from pathlib import Path
from typing import Any

import numpy as np
from detectron2.structures import BoxMode
from pydantic import Field, StrictStr

from posecore.data.formats.areas import fill_area, is_area, judge_areas
from posecore.data.formats.document import (
    MAX_COORDINATE,
    Box,
    Coordinate,
    Entry,
    FileName,
    Flag,
    Id,
    Pixels,
    load_json,
    short,
    validated,
)
from posecore.data.formats.notices import Notices
from posecore.structures.skeleton import Skeleton

logger = logging.getLogger(__name__)

# From the names of a category's keypoints to those of the skeleton.
KeypointNames = Callable[[list[str]], list[str]]

_KEYPOINTS = (
    f"a list of x, y and v of each keypoint, finite numbers up to {MAX_COORDINATE} (or null, or missing, "
    "where nothing is labeled)"
)


class ImageEntry(Entry):
    """An entry of "images"."""

    id: Id
    file_name: FileName
    height: Pixels
    width: Pixels


class CategoryEntry(Entry):
    """An entry of "categories". The category of the persons is the one with keypoints, or the only one."""

    id: Id
    name: StrictStr | None = Field(None, description="text")
    keypoints: list[StrictStr] | None = Field(None, description="a list of names, as text")


class AnnotationEntry(Entry):
    """What every entry of "annotations" must have, of whatever category."""

    id: Id
    image_id: Id = Field(description="the id of an image")
    category_id: Id = Field(description="the id of a category, or its name")


class PersonEntry(Entry):
    """What an entry of "annotations" must have besides where it is of the persons' category.

    Three more fields are read, and may hold anything: ``area`` is missing unless it is a finite number above
    0; ``segmentation`` is read only where the area is missing; ``num_keypoints`` is counted anew.
    """

    bbox: Box
    keypoints: list[Coordinate] | None = Field(None, description=_KEYPOINTS)
    iscrowd: Flag | None = Field(None, description="0 or 1, or false or true")


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
    if not content["images"]:
        raise ValueError(
            f"{json_file}: 'images' is empty: it must list the images, also those without persons"
        )
    return content


def complete_coco(
    content: dict,
    skeleton: Skeleton,
    json_file: str | Path,
    *,
    lacking: Collection[str] = (),
    names: KeypointNames = list,
) -> dict:
    """Checks and completes a content in COCO's format as :func:`read_coco` does; it is not modified.

    Readers of other formats convert their content to COCO's format and then call this, so that all formats
    have the same checks.

    Args:
        content: in COCO's format, possibly incomplete.
        skeleton: the keypoints that the content must have.
        json_file: the file of the content, for messages.
        lacking: keys of annotations that the format does not have, or counts otherwise; they are filled in
            without a warning.
        names: converts the names of the category's keypoints, where the format has others than the skeleton.

    Raises:
        ValueError: the message names the file, the annotation and what would be right.
    """
    try:
        images = _check_images(content)
        if "annotations" not in content:
            return {"images": list(images.values())}
        categories = _check_categories(content)
        category = _find_category(categories, skeleton, names)
        # The 2014 minival lists of Detectron2 are known to repeat a few annotations.
        unique = "minival" not in Path(json_file).name
        people = _find_people(content["annotations"], images, categories, category, unique)
        notices = _complete(people, images, skeleton, lacking)
    except ValueError as error:
        raise ValueError(f"{json_file}: {error}") from error
    if not people:
        logger.warning(
            "%s: no annotation has category_id %r: all images are without persons", json_file, category["id"]
        )
    for notice in notices.texts():
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

    Raises:
        FileNotFoundError: a file name has backslashes, and no such file exists.
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
            "file_name": str(image_path(image_root, image)),
            "image_id": image["id"],
            "height": image["height"],
            "width": image["width"],
        }
        if "annotations" in coco:
            record["annotations"] = people[image["id"]]
        dicts.append(record)
    return dicts


def image_path(image_root: str | Path, image: dict) -> Path:
    """The path of an image; with slashes where its name has backslashes, as on Windows, and is no file's.

    Raises:
        FileNotFoundError: neither exists.
    """
    file_name = image["file_name"]
    path = Path(image_root, file_name)
    if "\\" not in file_name or path.is_file():
        return path
    with_slashes = Path(image_root, file_name.replace("\\", "/"))
    if with_slashes.is_file():
        return with_slashes
    raise FileNotFoundError(
        f"image {image['id']}: file_name '{file_name}' has backslashes, as Windows writes paths, and neither "
        f"{path} nor {with_slashes} exists: file names must be relative to the images' folder {image_root}"
    )


def _continuous(people: list[dict]) -> list[list[float]]:
    """The keypoints of all persons in continuous pixels, 0.5 more than COCO's pixel indices."""
    keypoints = np.array([person["keypoints"] for person in people], dtype=np.float64)
    shift = np.resize([0.5, 0.5, 0], keypoints.shape[1:])
    return (keypoints + shift).tolist()


def _check_images(content: dict) -> dict[Any, dict]:
    """The images by their ids."""
    checked = validated(content["images"], ImageEntry, "image")
    images = [
        {**image, "id": entry.id, "height": entry.height, "width": entry.width}
        for image, entry in zip(content["images"], checked, strict=True)
    ]
    examples = {type(image["id"]): image["id"] for image in images}
    if len(examples) > 1:
        raise ValueError(
            f"image ids must be all integers or all text, not {' and '.join(map(repr, examples.values()))}"
        )
    if repeated := _repeated(images):
        raise ValueError(f"image ids must differ; repeated: {repeated}")
    return {image["id"]: image for image in images}


def _check_categories(content: dict) -> list[dict]:
    if not content.get("categories"):
        raise ValueError("'categories' is missing or empty: it needs one, with id, name and keypoints")
    checked = validated(content["categories"], CategoryEntry, "category", key="categories")
    categories = [
        {**category, "id": entry.id} for category, entry in zip(content["categories"], checked, strict=True)
    ]
    if repeated := _repeated(categories):
        raise ValueError(f"category ids must differ; repeated: {repeated}")
    return categories


def _find_category(categories: list[dict], skeleton: Skeleton, names: KeypointNames) -> dict:
    """The category of the persons: the one with keypoints, or the only one."""
    posed = [category for category in categories if category.get("keypoints")]
    chosen = posed or categories
    if len(chosen) > 1:
        raise ValueError(
            f"one of the categories must have keypoints, not {len(posed)} of {len(categories)}: "
            f"{[category.get('name') for category in chosen]}"
        )
    (category,) = chosen
    if posed:
        category = {**category, "keypoints": names(category["keypoints"])}
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
    return re.sub(r"[^a-z0-9]", "", name.lower())


def _find_people(
    annotations: list, images: dict[Any, dict], categories: list[dict], category: dict, unique: bool
) -> list[dict]:
    """The annotations of the persons' category, as copies, with checked ids."""
    # A category_id may also be the name of a category.
    names = Counter(item.get("name") for item in categories)
    known = {item["name"]: item["id"] for item in categories if item.get("name") and names[item["name"]] == 1}
    known |= {item["id"]: item["id"] for item in categories}
    people, identities = [], []
    checked = validated(annotations, AnnotationEntry, "annotation")
    for annotation, entry in zip(annotations, checked, strict=True):
        if entry.image_id not in images:
            types = {int: "integers", str: "text"}
            others = types[type(next(iter(images)))]
            hint = "" if others == types[type(entry.image_id)] else f", whose ids are {others}"
            raise ValueError(
                f"annotation {entry.id}: no image has its image_id {short(annotation['image_id'])}{hint}"
            )
        if entry.category_id not in known:
            raise ValueError(
                f"annotation {entry.id}: category_id is {short(annotation['category_id'])}, not one of "
                f"{short([item['id'] for item in categories])}, and no name of one"
            )
        identities.append(entry.id)
        if known[entry.category_id] == category["id"]:
            people.append(
                {
                    **annotation,
                    "id": entry.id,
                    "image_id": entry.image_id,
                    "category_id": category["id"],
                }
            )
    if unique and len(set(identities)) < len(identities):
        repeated = [identity for identity, count in Counter(identities).items() if count > 1]
        raise ValueError(f"annotation ids must differ; repeated: {repeated[:10]}")
    return people


def _repeated(items: list[dict]) -> list:
    counts = Counter(item["id"] for item in items)
    return [identity for identity, count in counts.items() if count > 1][:10]


def _complete(people: list[dict], images: dict, skeleton: Skeleton, lacking: Collection[str]) -> Notices:
    """Checks the numbers of persons and fills in missing ones, in place."""
    notices = Notices(len(people))
    keypoints = _check_numbers(people, skeleton, notices, lacking)
    _check_visibility(people, keypoints, skeleton)
    labeled = (keypoints[..., 2] > 0).sum(axis=1).tolist()
    if any("area" in person for person in people):
        # Where some have areas, it is news that others lack them.
        lacking = set(lacking) - {"area"}
    for person, count in zip(people, labeled, strict=True):
        if person.get("num_keypoints") != count and "num_keypoints" not in lacking:
            notices.ids["no valid num_keypoints: counted from the keypoints with v > 0"].append(person["id"])
        person["num_keypoints"] = count
        if not is_area(person.get("area")):
            fill_area(person, images[person["image_id"]], notices, lacking)
    judge_areas(people, notices)
    return notices


def _check_numbers(
    people: list[dict], skeleton: Skeleton, notices: Notices, lacking: Collection[str]
) -> np.ndarray:
    """Checks bbox, keypoints and iscrowd, and fills in the last two; returns the keypoints (n, K, 3)."""
    length = 3 * skeleton.num_keypoints
    without = 0
    for person, entry in zip(people, validated(people, PersonEntry, "annotation"), strict=True):
        if not entry.keypoints:
            person["keypoints"] = [0] * length
            explanation = "no valid keypoints: taken as persons whose keypoints are not labeled"
            notices.ids[explanation].append(person["id"])
            without += 1
        elif len(entry.keypoints) != length:
            raise ValueError(
                f"annotation {person['id']}: keypoints must be {length} numbers, not {len(entry.keypoints)}"
            )
        if entry.iscrowd is None and "iscrowd" not in lacking:
            notices.ids["no valid iscrowd: taken as 0, no crowds"].append(person["id"])
        person["iscrowd"] = entry.iscrowd or 0
    if people and without == len(people):
        raise ValueError("no annotation has keypoints; is this the instances file of the dataset?")
    numbers = np.array([person["keypoints"] for person in people], dtype=np.float64)
    return numbers.reshape(len(people), skeleton.num_keypoints, 3)


def _check_visibility(people: list[dict], keypoints: np.ndarray, skeleton: Skeleton) -> None:
    wrong = ~np.isin(keypoints[..., 2], (0, 1, 2))
    if wrong.any():
        row, column = np.argwhere(wrong)[0]
        raise ValueError(
            f"annotation {people[row]['id']}: keypoints: the v of keypoint '{skeleton.keypoints[column]}' "
            f"must be 0 (not labeled), 1 (hidden) or 2 (visible), not {keypoints[row, column, 2]}"
        )
