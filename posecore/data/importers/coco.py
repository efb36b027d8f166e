"""Reads COCO keypoint files of any tool: Roboflow, CVAT, Label Studio and others, :func:`read_coco_export`.

Roboflow has a folder with ``_annotations.coco.json`` for each split, CVAT one file for each subset in
``annotations/``. Keypoints with v = 0 lose their coordinates, and limbs that count from 0 are taken as they
are meant.
"""

import re
from pathlib import Path
from typing import Any

import numpy as np

from posecore.data.formats.areas import is_area
from posecore.data.formats.coco import AnnotationEntry, CategoryEntry, ImageEntry, PersonEntry
from posecore.data.formats.document import short, validated
from posecore.data.importers.choices import choose_category
from posecore.data.importers.dataset import ImportedDataset, ImportedImage, ImportedPerson, SourceSkeleton
from posecore.data.importers.files import read_json
from posecore.data.importers.images import ImageFinder, checked_size, clean_parts, roboflow_original
from posecore.data.importers.json_shapes import JsonShape, json_files
from posecore.data.importers.notes import Notes
from posecore.data.importers.options import ImportOptions

# Names of splits in the names of files and folders.
_SPLIT = re.compile(r"(?:^|[_\W])(train|valid|validation|val|test)(?=[_\W\d]|$)", re.IGNORECASE)


def is_coco(source: Path) -> bool:
    """Whether a path is a file in COCO's keypoint format, or a folder with such files."""
    return bool(json_files(source, _fits))


def read_coco_export(source: Path, options: ImportOptions) -> ImportedDataset:
    """Reads one file, or all files of a folder that are in COCO's format.

    Raises:
        FileNotFoundError, ValueError: a file is wrong, or two disagree; the message names the file.
    """
    notes = Notes()
    root = source if source.is_dir() else source.parent
    documents = _documents(source)
    if not documents:
        raise ValueError(f"{source} has no file in COCO's keypoint format (images, annotations, categories)")
    posed = [(file, content) for file, content in documents if _posed(content, file)]
    for file, _ in documents:
        if posed and file not in (other for other, _ in posed):
            notes.leave_out("files whose categories have no keypoints", file.name)
    documents = posed or documents
    names = [category["name"] for file, content in documents for category in _posed(content, file)]
    chosen = choose_category(names, options.category, source)
    skeleton: SourceSkeleton | None = None
    images: list[ImportedImage] = []
    for file, content in documents:
        category = next((item for item in _posed(content, file) if item["name"] == chosen), None)
        own = _skeleton(category, file, notes) if category else None
        if own and skeleton and own.keypoints != skeleton.keypoints:
            raise ValueError(
                f"{file} has other keypoints for {chosen!r}, {list(own.keypoints)}, than {documents[0][0]}, "
                f"{list(skeleton.keypoints)}"
            )
        skeleton = skeleton or own
        split = _split(file, root) if len(documents) > 1 else None
        count = len(category["keypoints"]) if category else 0
        images += _read(file, content, category, count, root, options, split, notes)
    assert skeleton is not None
    return ImportedDataset("coco", skeleton, tuple(_unique_names(images, source)), notes)


def _documents(source: Path) -> list[tuple[Path, dict[str, Any]]]:
    """The files in COCO's format, with their contents.

    Of a folder those of the first kind that it has: Roboflow's, those in folders called ``annotations``,
    Label Studio's ``result.json``, any other.
    """
    files = json_files(source, _fits)
    kinds = (
        [file for file in files if file.name == "_annotations.coco.json"],
        [file for file in files if file.parent.name == "annotations"],
        [file for file in files if file.name == "result.json"],
        files,
    )
    return [(file, read_json(file)) for file in next(filter(None, kinds), [])]


def _fits(shape: JsonShape) -> bool:
    return {"images", "annotations", "categories"} <= shape.lists


def _posed(content: dict[str, Any], file: Path) -> list[dict[str, Any]]:
    """The categories that have keypoints, checked."""
    try:
        for _ in validated(content["categories"], CategoryEntry, "category", key="categories"):
            pass
    except ValueError as error:
        raise ValueError(f"{file}: {error}") from error
    posed = [category for category in content["categories"] if category.get("keypoints")]
    named = [{**category, "name": category.get("name") or "person"} for category in posed]
    names = [category["name"] for category in named]
    if repeated := sorted({name for name in names if names.count(name) > 1}):
        raise ValueError(
            f"{file}: several categories with keypoints are called {repeated[0]!r}: names must differ"
        )
    return named


def _skeleton(category: dict[str, Any], file: Path, notes: Notes) -> SourceSkeleton:
    names = tuple(category["keypoints"])
    if len(set(names)) < len(names):
        raise ValueError(
            f"{file}: category {category['name']!r} has keypoints of the same name: {list(names)}"
        )
    return SourceSkeleton(category["name"], names, None, _limbs(category, names, file, notes))


def _limbs(
    category: dict[str, Any], names: tuple[str, ...], file: Path, notes: Notes
) -> tuple[tuple[str, str], ...]:
    given = category.get("skeleton") or []
    pairs = isinstance(given, list) and all(
        isinstance(pair, list) and len(pair) == 2 and all(type(place) is int for place in pair)
        for pair in given
    )
    if not pairs:
        raise ValueError(f"{file}: skeleton must be a list of pairs of keypoint numbers, not {short(given)}")
    first = 0 if any(0 in pair for pair in given) else 1
    if first == 0:
        notes.remark("the limbs of the file count keypoints from 0, unlike COCO's; they are taken so")
    limbs = []
    for pair in given:
        if all(first <= place < first + len(names) for place in pair):
            limbs.append((names[pair[0] - first], names[pair[1] - first]))
        else:
            notes.leave_out("limbs of keypoints that do not exist", f"{file.name}: {pair}")
    return tuple(limbs)


def _read(
    file: Path,
    content: dict[str, Any],
    category: dict[str, Any] | None,
    count: int,
    root: Path,
    options: ImportOptions,
    split: str | None,
    notes: Notes,
) -> list[ImportedImage]:
    try:
        for _ in validated(content["images"], ImageEntry, "image"):
            pass
        for _ in validated(content["annotations"], AnnotationEntry, "annotation"):
            pass
        people = [
            item for item in content["annotations"] if category and item["category_id"] == category["id"]
        ]
        for _ in validated(people, PersonEntry, "annotation"):
            pass
        known = {image["id"] for image in content["images"]}
        if len(known) < len(content["images"]):
            raise ValueError("two images have the same id")
        persons: dict[Any, list[ImportedPerson]] = {identity: [] for identity in known}
        for item in people:
            if item["image_id"] not in known:
                raise ValueError(f"annotation {item['id']}: no image has its image_id {item['image_id']!r}")
            persons[item["image_id"]].append(_person(item, count))
    except ValueError as error:
        raise ValueError(f"{file}: {error}") from error
    others = {item["id"]: item.get("name") for item in content["categories"]}
    for item in content["annotations"]:
        if not category or item["category_id"] != category["id"]:
            reason = "annotations of categories without keypoints, or not chosen"
            notes.leave_out(reason, f"{file.name}: {others.get(item['category_id'])}")
    finder = ImageFinder([options.images, *_folders(file, root)])
    images = []
    for image in content["images"]:
        path = finder.find(image["file_name"])
        name = _name(path, image["file_name"], file, root)
        size = checked_size(name, path, (int(image["width"]), int(image["height"])), notes)
        if size is not None:
            kept = tuple(persons[image["id"]])
            images.append(ImportedImage(name, path, *size, kept, split, roboflow_original(name)))
    return images


def _folders(file: Path, root: Path) -> list[Path]:
    """Where the images of a file are looked for, the likeliest folder first."""
    subset = re.sub(r"^(person_keypoints|instances|keypoints)_", "", file.stem)
    base = file.parent.parent if file.parent.name == "annotations" else file.parent
    folders = [base / "images" / subset, base / subset, file.parent, base / "images", base, root]
    return [folder for folder in dict.fromkeys(folders) if folder.is_dir()]


def _name(path: Path | None, given: str, file: Path, root: Path) -> str:
    """The name of an image; below the folder of its file of labels where several have their own."""
    name = "/".join(clean_parts(given))
    if file.parent != root and file.parent.name != "annotations":
        return f"{file.parent.relative_to(root).as_posix()}/{name}"
    return name


def _split(file: Path, root: Path) -> str:
    """The split that a file of labels stands for, by its name or its folder."""
    for text in (file.stem, file.parent.name):
        if found := _SPLIT.search(text):
            return found[1].lower()
    return file.stem if file.parent == root or file.parent.name == "annotations" else file.parent.name


def _person(item: dict[str, Any], count: int) -> ImportedPerson:
    values = item.get("keypoints") or [0] * (3 * count)
    if len(values) != 3 * count:
        raise ValueError(
            f"annotation {item['id']}: keypoints must have {3 * count} numbers, 3 for each of {count} "
            f"keypoints, not {len(values)}"
        )
    keypoints = np.array(values, dtype=float).reshape(count, 3)
    if not np.isin(keypoints[:, 2], (0, 1, 2)).all():
        raise ValueError(f"annotation {item['id']}: the third number of a keypoint must be 0, 1 or 2")
    keypoints[keypoints[:, 2] == 0] = 0
    x, y, width, height = (float(value) for value in item["bbox"])
    area = float(item["area"]) if is_area(item.get("area")) else None
    return ImportedPerson(keypoints, (x, y, width, height), area, bool(item.get("iscrowd")))


def _unique_names(images: list[ImportedImage], source: Path) -> list[ImportedImage]:
    """Refuses two different images of one name."""
    seen: dict[str, ImportedImage] = {}
    for image in images:
        if image.name in seen:
            raise ValueError(f"{source} lists the image {image.name} twice: each must be listed once")
        seen[image.name] = image
    return images
