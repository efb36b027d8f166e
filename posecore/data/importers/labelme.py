"""Reads folders of labelme's JSON files, one for each image: :func:`read_labelme`.

Keypoints are shapes of one point, whose label is the keypoint's name. The shapes of a person, a rectangle
among them, have one ``group_id``. Where no shape of an image has any, the image shows one person. A keypoint
is hidden if a flag of its shape says so (``occluded``), or if its label ends in ``_occluded`` or ``_hidden``.
The format has no order of keypoints: ``--keypoints`` gives it, else they are sorted as they first occur.
"""

import base64
from collections import defaultdict
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from posecore.data.formats.document import short
from posecore.data.images import IMAGE_ENDINGS
from posecore.data.importers.choices import choose_category, remark_order
from posecore.data.importers.dataset import ImportedDataset, ImportedImage, ImportedPerson, SourceSkeleton
from posecore.data.importers.files import files_below, read_json
from posecore.data.importers.image_sources import EmbeddedImage, ImageSource
from posecore.data.importers.images import ImageFinder, checked_size, clean_parts, relative_name
from posecore.data.importers.json_shapes import JsonShape, json_files
from posecore.data.importers.notes import Notes
from posecore.data.importers.options import ImportOptions
from posecore.data.importers.values import Box, box_of_corners, number, pixels

# Flags and endings of labels that mark a hidden keypoint.
HIDDEN = ("occluded", "hidden", "invisible")
DEFAULT_CATEGORY = "person"


@dataclass(frozen=True)
class _LabelmePerson:
    """A person and its category, the label of its rectangle; None where it has no rectangle."""

    person: ImportedPerson
    category: str | None

    @property
    def is_posed(self) -> bool:
        return self.person.is_labeled


def is_labelme(source: Path) -> bool:
    """Whether a path is a file of labelme, or a folder of such files."""
    return bool(json_files(source, _fits))


def _fits(shape: JsonShape) -> bool:
    return "shapes" in shape.lists and "imagePath" in shape.keys


def read_labelme(source: Path, options: ImportOptions) -> ImportedDataset:
    """Reads a folder of files, with all folders in it, or one file.

    Raises:
        FileNotFoundError, ValueError: a file is wrong, or its persons cannot be told apart; the message names
            it.
    """
    root = source if source.is_dir() else source.parent
    notes = Notes()
    documents = []
    for file in _json_files(source) if source.is_dir() else [source]:
        content = read_json(file)
        if isinstance(content, dict) and isinstance(content.get("shapes"), list):
            documents.append((file, content))
        else:
            notes.leave_out("JSON files that are none of labelme (they have no list 'shapes')", str(file))
    if not documents:
        raise ValueError(f"{source} has no file of labelme, which is a JSON object with a list 'shapes'")
    names = options.keypoints or _names(documents)
    if options.keypoints is None:
        remark_order(names, "labelme has no order of keypoints", notes)
    finder = ImageFinder([options.images, root])
    people = [_persons(file, content, names, notes) for file, content in documents]
    posed = [
        person.category for persons in people for person in persons if person.category and person.is_posed
    ]
    category = choose_category(posed, options.category, source) if posed else options.category
    images = []
    for (file, content), persons in zip(documents, people, strict=True):
        for person in persons:
            if person.category not in (None, category):
                notes.leave_out(
                    f"persons of other categories than {category!r}", f"{file.name}: {person.category}"
                )
        kept = tuple(person.person for person in persons if person.category in (None, category))
        images += _image(file, content, root, finder, kept, notes)
    _note_images_without_files(root, images, documents, notes)
    skeleton = SourceSkeleton(category or DEFAULT_CATEGORY, tuple(names))
    return ImportedDataset("labelme", skeleton, tuple(images), notes)


def _json_files(source: Path) -> list[Path]:
    return [file for file in files_below(source) if file.suffix.lower() == ".json"]


def _keypoint_name(shape: dict[str, Any], known: tuple[str, ...] | None = None) -> tuple[str, bool]:
    """The name of a point, and whether it is hidden."""
    label = shape["label"]
    flags = shape.get("flags")
    hidden = isinstance(flags, dict) and any(flags.get(name) is True for name in HIDDEN)
    if known is None or label not in known:
        for ending in HIDDEN:
            stem = label.removesuffix(f"_{ending}")
            if stem != label:
                return stem, True
    return label, hidden


def _names(documents: list[tuple[Path, dict[str, Any]]]) -> tuple[str, ...]:
    names = [
        _keypoint_name(shape)[0]
        for file, content in documents
        for shape in _shapes(file, content)
        if _kind(shape) == "point"
    ]
    if not names:
        raise ValueError(
            f"{documents[0][0].parent} has no shape of type 'point': keypoints are points whose label is "
            "their name"
        )
    return tuple(dict.fromkeys(names))


def _kind(shape: dict[str, Any]) -> Any:
    """The type of a shape, which old files lack."""
    return shape.get("shape_type") or ("point" if len(shape["points"]) == 1 else "polygon")


def _shapes(file: Path, content: dict[str, Any]) -> list[dict[str, Any]]:
    for place, shape in enumerate(content["shapes"]):
        if not isinstance(shape, dict) or not isinstance(shape.get("label"), str):
            raise ValueError(f"{file}: shape {place} must be an object with a label, not {short(shape)}")
        if not isinstance(shape.get("points"), list):
            raise ValueError(f"{file}: shape {place} ({shape['label']}) must have a list of points")
    return content["shapes"]


def _image(
    file: Path,
    content: dict[str, Any],
    root: Path,
    finder: ImageFinder,
    persons: tuple[ImportedPerson, ...],
    notes: Notes,
) -> list[ImportedImage]:
    """The image of a file; none where it is left out."""
    path = content.get("imagePath")
    if not isinstance(path, str) or not path.strip():
        raise ValueError(f"{file}: imagePath must be the path of the image, not {short(path)}")
    parts = clean_parts(path)
    places = (file.parent / path.replace("\\", "/"), file.parent.joinpath(*parts[-1:]))
    image = next((place for place in places if place.is_file()), None) or finder.find(path)
    name = "/".join(parts)
    if image is not None:
        name = relative_name(image, root) or image.name
    stated = None
    if content.get("imageWidth") is not None and content.get("imageHeight") is not None:
        stated = (
            pixels(content["imageWidth"], f"{file}: imageWidth"),
            pixels(content["imageHeight"], f"{file}: imageHeight"),
        )
    source: ImageSource = image or _embedded(file, content)
    size = checked_size(name, source, stated, notes)
    return [ImportedImage(name, source, *size, persons)] if size else []


def _embedded(file: Path, content: dict[str, Any]) -> EmbeddedImage | None:
    """The image within a file, for where its own file is not found."""
    data = content.get("imageData")
    if not isinstance(data, str) or not data:
        return None
    try:
        return EmbeddedImage(base64.b64decode(data, validate=True))
    except ValueError as error:
        raise ValueError(f"{file}: imageData must be an image in base64: {error}") from error


def _persons(
    file: Path, content: dict[str, Any], names: tuple[str, ...], notes: Notes
) -> list[_LabelmePerson]:
    """The persons of a file, in the order in which their first shapes occur."""
    shapes = _shapes(file, content)
    grouped = any(shape.get("group_id") is not None for shape in shapes)
    points: dict[Any, dict[str, tuple[float, float, int]]] = defaultdict(dict)
    boxes: dict[Any, Box] = {}
    categories: dict[Any, str] = {}
    for place, shape in enumerate(shapes):
        kind, group = _kind(shape), shape.get("group_id")
        where = f"{file}: shape {place} ({shape['label']})"
        if group is not None and type(group) not in (int, str):
            raise ValueError(f"{where}: group_id must be a whole number or null, not {short(group)}")
        if kind not in ("point", "rectangle"):
            notes.leave_out(f"shapes of the type {kind!r}", f"{file.name}: {shape['label']}")
        elif grouped and group is None:
            notes.leave_out(
                "shapes without a group_id in images whose others have one", f"{file.name}: {shape['label']}"
            )
        elif kind == "rectangle":
            corners = _points(shape, 2, where)
            if group in boxes:
                raise ValueError(
                    f"{where}: another rectangle of the image has the same group_id, {group or 'none'}: give "
                    "the shapes of each person a group_id of their own"
                )
            boxes[group] = box_of_corners(*corners[0], *corners[1])
            categories[group] = shape["label"]
        else:
            keypoint, hidden = _keypoint_name(shape, names)
            if keypoint not in names:
                notes.leave_out(
                    "points whose label is none of the keypoints", f"{file.name}: {shape['label']}"
                )
                continue
            if keypoint in points[group]:
                reason = (
                    f"group_id {group} has it twice"
                    if grouped
                    else "the image has it twice, and no group_id tells persons apart: give the shapes "
                    "of each person a group_id"
                )
                raise ValueError(f"{where}: {reason}")
            ((x, y),) = _points(shape, 1, where)
            points[group][keypoint] = (x, y, 1 if hidden else 2)
    order = dict.fromkeys(shape.get("group_id") for shape in shapes)
    return [
        _LabelmePerson(
            ImportedPerson(_array(points.get(group, {}), names), boxes.get(group)), categories.get(group)
        )
        for group in order
        if group in points or group in boxes
    ]


def _points(shape: dict[str, Any], count: int, where: str) -> list[tuple[float, float]]:
    points = shape["points"]
    pairs = all(isinstance(point, list) and len(point) == 2 for point in points)
    if len(points) != count or not pairs:
        raise ValueError(
            f"{where} must have {count} point{'s' * (count > 1)} of x and y, not {short(points)}"
        )
    return [(number(x, f"{where}: x"), number(y, f"{where}: y")) for x, y in points]


def _array(points: dict[str, tuple[float, float, int]], names: tuple[str, ...]) -> np.ndarray:
    return np.array([points.get(name, (0.0, 0.0, 0)) for name in names], dtype=float)


def _note_images_without_files(
    root: Path, images: list[ImportedImage], documents: list[tuple[Path, dict[str, Any]]], notes: Notes
) -> None:
    """Notes the images beside the files that have none: nobody looked at them, or nobody is in them."""
    known = {image.source.resolve() for image in images if isinstance(image.source, Path)}
    for folder in sorted({file.parent for file, _ in documents}):
        for file in sorted(folder.iterdir()):
            if file.suffix.lower() in IMAGE_ENDINGS and file.resolve() not in known:
                name = relative_name(file, root) or file.name
                notes.leave_out("images that no file of labelme names, so not looked at", name)
