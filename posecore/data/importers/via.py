"""Reads the VGG Image Annotator's projects, region data and CSV files: :func:`read_via`.

Keypoints are regions of the shape ``point``, a person's box is one of the shape ``rect``. Attributes of the
regions are free. These are read: the name of a keypoint (``name``, ``keypoint``, ``label``, ``part``), the
person (``person``, ``id``, ``instance``, ``animal``), and whether it is hidden (``visible``, ``visibility``,
``occluded``).
"""

import json
from collections import defaultdict
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from posecore.data.formats.document import short
from posecore.data.importers.choices import choose_category, only_file, remark_order
from posecore.data.importers.dataset import ImportedDataset, ImportedImage, ImportedPerson, SourceSkeleton
from posecore.data.importers.files import files_below, read_json, read_rows, read_text
from posecore.data.importers.images import ImageFinder, checked_size, clean_parts
from posecore.data.importers.json_shapes import JsonShape, json_files
from posecore.data.importers.notes import Notes
from posecore.data.importers.options import ImportOptions
from posecore.data.importers.values import Box, number

NAME_KEYS = ("name", "keypoint", "label", "part")
PERSON_KEYS = ("person", "id", "instance", "animal")
HIDDEN_VALUES = {
    "visible": ("hidden", "no", "false", "0", "occluded", "invisible"),
    # A number is COCO's flag here.
    "visibility": ("hidden", "no", "false", "0", "occluded", "invisible", "1"),
    "occluded": ("yes", "true", "1", "occluded"),
}
_CSV_HEADER = "filename,file_size,file_attributes,region_count,region_id,region_shape_attributes"
_CSV_COLUMNS = {"filename", "region_shape_attributes", "region_attributes"}


@dataclass(frozen=True)
class _Image:
    """An image: its file name and its regions, (shape attributes, region attributes) of each."""

    name: str
    regions: list[tuple[dict[str, Any], dict[str, Any]]]


def is_via(source: Path) -> bool:
    """Whether a path is a file of VIA, or a folder with one."""
    return bool(_files(source))


def read_via(source: Path, options: ImportOptions) -> ImportedDataset:
    """Reads a file, or the folder that has it; a project is preferred to region data of the same folder.

    Raises:
        FileNotFoundError, ValueError: the file is wrong, or persons cannot be told apart; the message names
            the file and the image.
    """
    files = _files(source)
    projects = [file for file in files if file.suffix.lower() == ".json" and _is_project(read_json(file))]
    file, notes = only_file(projects or files, source, "file of VIA"), Notes()
    for other in files:
        if other != file:
            notes.leave_out("files of VIA beside the project", other.name)
    folder, entries, listed = _read(file)
    names = options.keypoints or _names(entries, listed, file, notes)
    people = [_persons(entry, names, file, notes) for entry in entries]
    categories = [category for persons in people for _, category in persons if category is not None]
    category = choose_category(categories, options.category, file) if categories else options.category
    finder = ImageFinder([options.images, file.parent / folder if folder else None, file.parent])
    images = []
    for entry, persons in zip(entries, people, strict=True):
        kept = tuple(person for person, own in persons if own in (None, category))
        if len(kept) < len(persons):
            notes.leave_out(f"persons of other categories than {category!r}", entry.name)
        path = finder.find(entry.name)
        name = "/".join(
            clean_parts(entry.name.split("?")[0])[-2:] if "://" in entry.name else clean_parts(entry.name)
        )
        if (size := checked_size(name, path, None, notes)) is not None:
            images.append(ImportedImage(name, path, *size, kept))
    return ImportedDataset("via", SourceSkeleton(category or "person", tuple(names)), tuple(images), notes)


def _files(source: Path) -> list[Path]:
    files = [source] if source.is_file() else list(files_below(source))
    tables = [file for file in files if file.suffix.lower() == ".csv" and _is_table(file)]
    return [*json_files(source, _fits), *tables]


def _is_table(file: Path) -> bool:
    with file.open("rb") as opened:
        return _CSV_HEADER.encode() in opened.read(4096)


def _fits(shape: JsonShape) -> bool:
    return "_via_img_metadata" in shape.keys or {"filename", "regions"} <= shape.inner


def _is_project(content: Any) -> bool:
    return isinstance(content, dict) and "_via_img_metadata" in content


def _read(file: Path) -> tuple[str, list[_Image], dict[str, list[str]]]:
    """The folder of the images, the images, and the listed values of attributes."""
    if file.suffix.lower() == ".csv":
        return "", _read_csv(file), {}
    content = read_json(file)
    if not _is_project(content):
        return "", _entries(content, file), {}
    core = (
        content.get("_via_settings", {}).get("core", {})
        if isinstance(content.get("_via_settings"), dict)
        else {}
    )
    folder = core.get("default_filepath", "") if isinstance(core, dict) else ""
    attributes = content.get("_via_attributes", {})
    regions = attributes.get("region", {}) if isinstance(attributes, dict) else {}
    listed = {
        key: list(value["options"])
        for key, value in (regions.items() if isinstance(regions, dict) else ())
        if isinstance(value, dict) and isinstance(value.get("options"), dict)
    }
    return "/".join(clean_parts(str(folder))), _entries(content["_via_img_metadata"], file), listed


def _entries(content: Any, file: Path) -> list[_Image]:
    if not isinstance(content, dict):
        raise ValueError(f"{file}: the images must be an object, not {short(content)}")
    images = []
    for key, entry in content.items():
        if not isinstance(entry, dict) or not isinstance(entry.get("filename"), str) or not entry["filename"]:
            raise ValueError(f"{file}: entry {key!r} must have a filename")
        regions = entry.get("regions", [])
        # Version 1 numbers the regions, version 2 lists them.
        regions = list(regions.values()) if isinstance(regions, dict) else regions
        if not isinstance(regions, list):
            raise ValueError(f"{file}: entry {key!r}: regions must be a list, not {short(regions)}")
        images.append(_Image(entry["filename"], [_region(region, f"{file}: {key!r}") for region in regions]))
    return images


def _region(region: Any, where: str) -> tuple[dict[str, Any], dict[str, Any]]:
    shape = region.get("shape_attributes") if isinstance(region, dict) else None
    attributes = region.get("region_attributes", {}) if isinstance(region, dict) else None
    if not isinstance(shape, dict) or not isinstance(attributes, dict):
        raise ValueError(
            f"{where}: a region must have shape_attributes and region_attributes, not {short(region)}"
        )
    return shape, attributes


def _read_csv(file: Path) -> list[_Image]:
    header, *lines = [line for line in read_rows(file, read_text(file).lstrip("#")) if line] or [[]]
    images: dict[str, list[tuple[dict[str, Any], dict[str, Any]]]] = {}
    for place, line in enumerate(lines, start=2):
        row = dict(zip(header, line, strict=False))
        name = row.get("filename")
        if len(line) != len(header) or not name or not row.keys() >= _CSV_COLUMNS:
            raise ValueError(
                f"{file}, row {place}: it must have the columns of VIA's header, {_CSV_HEADER},..."
            )
        regions = images.setdefault(name, [])
        try:
            shape = json.loads(row["region_shape_attributes"])
            attributes = json.loads(row["region_attributes"])
        except (ValueError, RecursionError) as error:
            raise ValueError(
                f"{file}, row {place}: the attributes of a region must be JSON: {error}"
            ) from error
        if shape:
            region = {"shape_attributes": shape, "region_attributes": attributes}
            regions.append(_region(region, f"{file}, row {place}"))
    return [_Image(name, regions) for name, regions in images.items()]


def _value(attributes: dict[str, Any], keys: tuple[str, ...]) -> str | None:
    for key in keys:
        value = attributes.get(key)
        if isinstance(value, (str, int)) and str(value).strip():
            return str(value).strip()
    return None


def _names(entries: list[_Image], listed: dict[str, list[str]], file: Path, notes: Notes) -> tuple[str, ...]:
    """The names of the points, in the order of the project's list of values, else as they first occur."""
    used = dict.fromkeys(
        name
        for entry in entries
        for shape, attributes in entry.regions
        if shape.get("name") == "point" and (name := _value(attributes, NAME_KEYS)) is not None
    )
    if not used:
        raise ValueError(
            f"{file} has no points whose attributes name them: regions of the shape 'point' need one of the "
            f"attributes {', '.join(NAME_KEYS)}"
        )
    order = next(
        (values for key in NAME_KEYS if (values := listed.get(key)) and used.keys() <= set(values)), None
    )
    if order is None:
        remark_order(used, "the project does not list the keypoints", notes)
        return tuple(used)
    return tuple(name for name in order if name in used)


def _persons(
    entry: _Image, names: tuple[str, ...], file: Path, notes: Notes
) -> list[tuple[ImportedPerson, str | None]]:
    """The persons of an image with their categories."""
    points: dict[str, dict[str, tuple[float, float, int]]] = defaultdict(dict)
    boxes: dict[str, tuple[Box, str | None]] = {}
    order: dict[str, None] = {}
    for place, (shape, attributes) in enumerate(entry.regions):
        where = f"{file}: {entry.name}, region {place}"
        person, name = _value(attributes, PERSON_KEYS) or "", _value(attributes, NAME_KEYS)
        if shape.get("name") == "rect":
            x, y, width, height = (
                number(shape.get(key), f"{where}: {key}") for key in ("x", "y", "width", "height")
            )
            if person in boxes:
                raise ValueError(
                    f"{where}: person {person!r} has another box: give each person a value of its own"
                )
            boxes[person] = (x, y, width, height), name
        elif shape.get("name") == "point":
            if name not in names:
                notes.leave_out("points whose name is none of the keypoints", f"{entry.name}: {name}")
                continue
            if name in points[person]:
                raise ValueError(
                    f"{where}: {name!r} occurs twice for person {person!r}: give each person a value of its "
                    f"own in one of the attributes {', '.join(PERSON_KEYS)}"
                )
            x, y = (number(shape.get(key), f"{where}: {key}") for key in ("cx", "cy"))
            points[person][name] = x, y, 1 if _is_hidden(attributes) else 2
        else:
            notes.leave_out(f"regions of the shape {shape.get('name')!r}", f"{entry.name}: {name}")
            continue
        order.setdefault(person)
    persons = []
    for person in order:
        box, category = boxes.get(person, (None, None))
        values = [points[person].get(name, (0.0, 0.0, 0)) for name in names]
        persons.append((ImportedPerson(np.array(values, dtype=float), box), category))
    return persons


def _is_hidden(attributes: dict[str, Any]) -> bool:
    return any(
        isinstance(attributes.get(key), (str, int)) and str(attributes[key]).strip().lower() in values
        for key, values in HIDDEN_VALUES.items()
    )
