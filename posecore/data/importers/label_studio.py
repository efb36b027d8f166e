"""Reads Label Studio's JSON and JSON-MIN: :func:`read_label_studio`.

Positions are percent of the image. Which keypoints belong to one person is told by the parent of their
regions, else by relations, else by the rectangle that they lie in; without rectangles an image shows one
person. The labeling configuration, an XML file beside the JSON, gives the keypoints' order. Of several
annotations of a task the first is taken, and the others serve to estimate sigmas.
"""

import math
import re
from collections import defaultdict
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from urllib.parse import parse_qs, unquote, urlsplit
from xml.etree.ElementTree import Element

import numpy as np
from scipy.optimize import linear_sum_assignment

from posecore.data.formats.document import short
from posecore.data.images import IMAGE_ENDINGS
from posecore.data.importers.choices import choose_category, only_file, remark_order
from posecore.data.importers.dataset import (
    ImportedDataset,
    ImportedImage,
    ImportedPerson,
    RepeatedLabels,
    SourceSkeleton,
)
from posecore.data.importers.files import read_json, read_text, read_xml
from posecore.data.importers.images import ImageFinder, checked_size, clean_parts
from posecore.data.importers.json_shapes import JsonShape, json_files
from posecore.data.importers.notes import Notes
from posecore.data.importers.options import ImportOptions
from posecore.data.importers.values import Box, number, pixels
from posecore.structures.boxes import AREA_OF_BOX

# Choices of a region that mark a hidden keypoint.
HIDDEN = ("occluded", "hidden", "invisible", "not visible")
_UPLOAD_PREFIX = re.compile(r"^[0-9a-f]{8}-")


@dataclass(frozen=True)
class _Region:
    """A keypoint or a rectangle, in pixels.

    Attributes:
        identity: of the region; None in JSON-MIN.
        label: its name.
        box: x, y, width and height; a keypoint has no extent.
        parent: the identity of the region that it is part of.
    """

    identity: str | None
    label: str
    box: Box
    parent: str | None


@dataclass(frozen=True)
class _Person:
    person: ImportedPerson
    category: str | None


def is_label_studio(source: Path) -> bool:
    """Whether a path is an export of Label Studio, or a folder with one."""
    return bool(_json_files(source))


def read_label_studio(source: Path, options: ImportOptions) -> ImportedDataset:
    """Reads an export, or the folder that has it beside its labeling configuration.

    Raises:
        FileNotFoundError, ValueError: a file is wrong, or its persons cannot be told apart; the message names
            the file and the task.
    """
    files = _json_files(source)
    file, notes = only_file(files, source, "JSON export of Label Studio"), Notes()
    content = read_json(file)
    config = _config(file.parent)
    tasks = _tasks_of_min(content, file) if _is_min(content) else _tasks(content, file)
    names = options.keypoints or _names_of_config(config) or _names_of_tasks(tasks, file, notes)
    key = _image_key(config)
    read = [(task, _opinions(task, names, file, notes)) for task in tasks]
    categories = [
        person.category
        for _, opinions in read
        for persons in opinions[:1]
        for person in persons
        if person.category is not None
    ]
    category = choose_category(categories, options.category, file) if categories else options.category
    finder = ImageFinder([options.images, file.parent / "images", file.parent])
    images: list[ImportedImage] = []
    repeated: list[RepeatedLabels] = []
    for task, opinions in read:
        if not opinions:
            continue
        kept = [
            tuple(person.person for person in persons if person.category in (None, category))
            for persons in opinions
        ]
        if len(kept[0]) < len(opinions[0]):
            notes.leave_out(f"persons of other categories than {category!r}", f"task {task.get('id')}")
        address = _address(task, key, file)
        name = _image_name(address)
        path = finder.find(name) or finder.find(_UPLOAD_PREFIX.sub("", Path(name).name))
        size = checked_size(name, path, _stated_size(task, file), notes)
        if size is not None:
            images.append(ImportedImage(name, path, *size, kept[0]))
            for others in kept[1:]:
                repeated += _pairs(kept[0], others)
            if len(kept) > 1:
                notes.remark("of several annotations of a task the first that is not cancelled is taken")
    skeleton = SourceSkeleton(category or "person", tuple(names))
    return ImportedDataset("label-studio", skeleton, tuple(images), notes, tuple(repeated))


def _json_files(source: Path) -> list[Path]:
    """The exports: JSON files of a list of tasks."""
    return json_files(source, _fits)


def _fits(shape: JsonShape) -> bool:
    if shape.kind != "list":
        return False
    tasks = "data" in shape.inner and bool({"annotations", "completions"} & shape.inner)
    return tasks or "annotation_id" in shape.inner


def _is_min(content: Any) -> bool:
    """Whether a document is JSON-MIN: one object for each annotation."""
    return (
        isinstance(content, list)
        and bool(content)
        and all(isinstance(entry, dict) and "annotation_id" in entry for entry in content[:5])
    )


def _config(folder: Path) -> Element | None:
    """The labeling configuration in a folder; None where there is none."""
    for file in sorted(folder.glob("*.xml")):
        if file.is_file() and "<KeyPointLabels" in read_text(file):
            return read_xml(file)
    return None


def _names_of_config(config: Element | None) -> tuple[str, ...]:
    labels = [] if config is None else config.findall(".//KeyPointLabels/Label")
    named = [label for label in labels if label.get("value")]
    if named and all((label.get("model_index") or "").isdecimal() for label in named):
        named.sort(key=lambda label: int(label.get("model_index") or 0))
    return tuple(dict.fromkeys(label.get("value") or "" for label in named))


def _names_of_tasks(tasks: list[dict[str, Any]], file: Path, notes: Notes) -> tuple[str, ...]:
    names = [
        str(labels[0])
        for task in tasks
        for annotation in _annotations(task, file)
        for item in annotation
        if item.get("type") == "keypointlabels" and (labels := _labels(item, "keypointlabels"))
    ]
    if not names:
        raise ValueError(f"{file} has no keypoints (results of the type keypointlabels)")
    ordered = tuple(dict.fromkeys(names))
    remark_order(ordered, f"there is no labeling configuration (XML) beside {file.name}", notes)
    return ordered


def _image_key(config: Element | None) -> str | None:
    """The key of a task's data that has the image."""
    image = None if config is None else config.find(".//Image")
    value = None if image is None else image.get("value")
    return value.removeprefix("$") if value else None


def _tasks(content: Any, file: Path) -> list[dict[str, Any]]:
    if not isinstance(content, list):
        raise ValueError(f"{file} must be a list of tasks, not {short(content)}")
    for place, task in enumerate(content):
        if not isinstance(task, dict) or not isinstance(task.get("data"), dict):
            raise ValueError(f"{file}: task at index {place} must be an object with data, not {short(task)}")
    return content


def _tasks_of_min(content: list[dict[str, Any]], file: Path) -> list[dict[str, Any]]:
    """The tasks of a JSON-MIN document, in the structure of the full JSON; ids of regions are lost in it."""
    tasks: dict[Any, dict[str, Any]] = {}
    for place, entry in enumerate(content):
        if not isinstance(entry, dict):
            raise ValueError(f"{file}: entry at index {place} must be an object, not {short(entry)}")
        identity = entry.get("id")
        if identity is not None and type(identity) not in (int, str):
            raise ValueError(
                f"{file}: entry at index {place}: id must be a whole number or text, not {short(identity)}"
            )
        data = {key: value for key, value in entry.items() if isinstance(value, str)}
        result = [
            {
                "type": kind,
                "value": item,
                **{key: item.get(key) for key in ("original_width", "original_height")},
            }
            for value in entry.values()
            if isinstance(value, list)
            for item in value
            if isinstance(item, dict)
            for kind in ("keypointlabels", "rectanglelabels")
            if kind in item
        ]
        task = tasks.setdefault(
            ("without id", place) if identity is None else identity,
            {"id": identity, "data": data, "annotations": []},
        )
        task["annotations"].append({"result": result})
    return list(tasks.values())


def _annotations(task: dict[str, Any], file: Path) -> list[list[dict[str, Any]]]:
    """The results of the annotations of a task that are not cancelled."""
    annotations = task.get("annotations", task.get("completions"))
    if not isinstance(annotations, list):
        raise ValueError(
            f"{file}: task {task.get('id')} must have a list of annotations, not {short(annotations)}"
        )
    results = []
    for annotation in annotations:
        if not isinstance(annotation, dict) or not isinstance(annotation.get("result"), list):
            raise ValueError(f"{file}: task {task.get('id')}: an annotation must have a list 'result'")
        if not all(isinstance(item, dict) for item in annotation["result"]):
            raise ValueError(
                f"{file}: task {task.get('id')}: an annotation's result must be a list of objects"
            )
        for item in annotation["result"]:
            if item.get("id") is not None and type(item["id"]) not in (int, str):
                raise ValueError(
                    f"{file}: task {task.get('id')}: the id of a region must be text, not {short(item['id'])}"
                )
        if not annotation.get("was_cancelled") and not annotation.get("skipped"):
            results.append(annotation["result"])
    return results


def _opinions(task: dict[str, Any], names: tuple[str, ...], file: Path, notes: Notes) -> list[list[_Person]]:
    """The persons of a task in each of its annotations."""
    where = f"{file}: task {task.get('id')}"
    annotations = _annotations(task, file)
    if not annotations:
        notes.leave_out("tasks without an annotation", f"task {task.get('id')}")
        return []
    if any(item.get("image_rotation") for result in annotations for item in result):
        notes.leave_out("images that were turned while they were labeled", f"task {task.get('id')}")
        return []
    return [_persons(result, names, where, notes) for result in annotations]


def _persons(result: list[dict[str, Any]], names: tuple[str, ...], where: str, notes: Notes) -> list[_Person]:
    points = _regions(result, "keypointlabels", where, notes)
    boxes = _regions(result, "rectanglelabels", where, notes)
    known = []
    for point in points:
        if point.label in names:
            known.append(point)
        else:
            notes.leave_out("keypoints whose label is not among the names", f"{where}: {point.label}")
    for item in result:
        if item.get("type") not in ("keypointlabels", "rectanglelabels", "relation", "choices"):
            notes.leave_out(f"regions of the type {item.get('type')!r}", where)
    hidden = {
        item.get("id")
        for item in result
        if item.get("type") == "choices"
        and any(str(choice).lower() in HIDDEN for choice in _labels(item, "choices"))
    }
    groups: dict[int | None, list[_Region]] = defaultdict(list)
    partners = _relations(result)
    for point in known:
        if (place := _box_of(point, boxes, partners, where)) == -1:
            notes.leave_out("keypoints outside of all rectangles", f"{where}: {point.label}")
        else:
            groups[place].append(point)
    persons = [
        _Person(ImportedPerson(_array(groups[place], names, hidden, where), box.box), box.label)
        for place, box in enumerate(boxes)
    ]
    if groups[None]:
        persons.append(_Person(ImportedPerson(_array(groups[None], names, hidden, where)), None))
    return persons


def _labels(item: dict[str, Any], kind: str) -> list[Any]:
    """The labels of a region, or its choices."""
    value = item.get("value")
    labels = value.get(kind) if isinstance(value, dict) else None
    return labels if isinstance(labels, list) else []


def _regions(result: list[dict[str, Any]], kind: str, where: str, notes: Notes) -> list[_Region]:
    regions = []
    for item in result:
        if item.get("type") != kind:
            continue
        value, labels = item.get("value"), _labels(item, kind)
        if not labels:
            notes.leave_out(f"regions of the type {kind} without a label", where)
            continue
        if not isinstance(value, dict) or len(labels) != 1:
            raise ValueError(f"{where}: a region of the type {kind} must have one label, not {short(labels)}")
        width = pixels(item.get("original_width"), f"{where}: original_width")
        height = pixels(item.get("original_height"), f"{where}: original_height")
        keys = ("x", "y", "width", "height") if kind == "rectanglelabels" else ("x", "y")
        percent = [number(value.get(key), f"{where}: {key} of {labels[0]!r}") for key in keys]
        x, y = percent[0] * width / 100, percent[1] * height / 100
        box = (x, y, 0.0, 0.0)
        if kind == "rectanglelabels":
            turn = number(value.get("rotation") or 0, f"{where}: rotation of {labels[0]!r}")
            box = _turned(x, y, percent[2] * width / 100, percent[3] * height / 100, turn)
        parent = item.get("parentID")
        regions.append(
            _Region(item.get("id"), str(labels[0]), box, parent if isinstance(parent, str) else None)
        )
    return regions


def _turned(x: float, y: float, width: float, height: float, degrees: float) -> Box:
    """The rectangle around one that is turned about its upper left corner."""
    cos, sin = math.cos(math.radians(degrees)), math.sin(math.radians(degrees))
    corners = [(0.0, 0.0), (width, 0.0), (0.0, height), (width, height)]
    xs = [x + a * cos - b * sin for a, b in corners]
    ys = [y + a * sin + b * cos for a, b in corners]
    return min(xs), min(ys), max(xs) - min(xs), max(ys) - min(ys)


def _relations(result: list[dict[str, Any]]) -> dict[str, list[str]]:
    """The regions that each region is related to, whatever the direction."""
    partners: dict[str, list[str]] = defaultdict(list)
    for item in result:
        if item.get("type") == "relation":
            one, other = str(item.get("from_id")), str(item.get("to_id"))
            partners[one].append(other)
            partners[other].append(one)
    return partners


def _box_of(point: _Region, boxes: list[_Region], partners: dict[str, list[str]], where: str) -> int | None:
    """The place of the rectangle of a keypoint; None for none, -1 where it lies in none of several."""
    places = {box.identity: place for place, box in enumerate(boxes) if box.identity is not None}
    if point.parent in places:
        return places[point.parent]
    related = {places[partner] for partner in partners.get(str(point.identity), []) if partner in places}
    if len(related) == 1:
        return related.pop()
    if len(boxes) < 2:
        return 0 if boxes else None
    x, y = point.box[:2]
    around = [
        place
        for place, box in enumerate(boxes)
        if box.box[0] <= x <= box.box[0] + box.box[2] and box.box[1] <= y <= box.box[1] + box.box[3]
    ]
    if len(around) > 1:
        raise ValueError(
            f"{where}: keypoint {point.label!r} lies in {len(around)} rectangles, and neither a parent nor a "
            "relation says which one it belongs to: drag it into its rectangle in the list of regions"
        )
    return around[0] if around else -1


def _array(points: list[_Region], names: tuple[str, ...], hidden: set[Any], where: str) -> np.ndarray:
    """(K, 3)."""
    keypoints = np.zeros((len(names), 3))
    for point in points:
        row = keypoints[names.index(point.label)]
        if row[2]:
            raise ValueError(f"{where}: a person has keypoint {point.label!r} twice")
        row[:] = *point.box[:2], 1 if point.identity is not None and point.identity in hidden else 2
    return keypoints


def _stated_size(task: dict[str, Any], file: Path) -> tuple[int, int] | None:
    """Width and height that the results of a task state."""
    for result in _annotations(task, file):
        for item in result:
            if item.get("original_width") and item.get("original_height"):
                where = f"{file}: task {task.get('id')}"
                width = pixels(item["original_width"], f"{where}: original_width")
                return width, pixels(item["original_height"], f"{where}: original_height")
    return None


def _address(task: dict[str, Any], key: str | None, file: Path) -> str:
    """The address of a task's image."""
    data = task["data"]
    texts = [data.get(key)] if key in data else list(data.values())
    for text in texts:
        if isinstance(text, str) and Path(_image_name(text) or "x").suffix.lower() in IMAGE_ENDINGS:
            return text
    raise ValueError(f"{file}: task {task.get('id')}: its data names no image: {short(data)}")


def _image_name(address: str) -> str:
    """The name of an image by its address: a path, an upload, a local file, a bucket or a web address."""
    try:
        parts = urlsplit(address)
    except ValueError:  # brackets that are no address
        return "/".join(clean_parts(unquote(address)))
    if parts.scheme in ("s3", "gs", "azure-blob"):
        return "/".join(clean_parts(unquote(parts.path)))
    if parts.path.endswith("/local-files/") or "d" in parse_qs(parts.query):
        return "/".join(clean_parts(unquote(parse_qs(parts.query).get("d", [""])[0])))
    if parts.scheme in ("http", "https") or parts.path.startswith("/data/upload/"):
        return (clean_parts(unquote(parts.path)) or [""])[-1]
    return "/".join(clean_parts(unquote(address)))


def _pairs(first: tuple[ImportedPerson, ...], second: tuple[ImportedPerson, ...]) -> list[RepeatedLabels]:
    """The persons of two annotations that are the same, by the least sum of distances."""
    posed, others = ([person for person in persons if person.is_labeled] for persons in (first, second))
    if not posed or not others:
        return []
    costs = np.array([[_distance(one, other) for other in others] for one in posed])
    pairs = []
    for row, column in zip(*linear_sum_assignment(np.minimum(costs, 1e6)), strict=True):
        box = posed[row].enclosing_box()
        area = AREA_OF_BOX * box[2] * box[3]
        # Farther apart than half of the body, they are two persons.
        if area > 0 and costs[row, column] < 0.5 * math.sqrt(area):
            pairs.append(RepeatedLabels(posed[row].keypoints, others[column].keypoints, area))
    return pairs


def _distance(one: ImportedPerson, other: ImportedPerson) -> float:
    """The mean distance of the keypoints that both have labeled, pixels."""
    both = (one.keypoints[:, 2] > 0) & (other.keypoints[:, 2] > 0)
    if not both.any():
        return math.inf
    return float(np.linalg.norm(one.keypoints[both, :2] - other.keypoints[both, :2], axis=1).mean())
