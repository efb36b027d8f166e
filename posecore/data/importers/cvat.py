"""Reads CVAT's own XML, "CVAT for images" and "CVAT for video" 1.1: :func:`read_cvat`.

The keypoints of a skeleton are in the order of the nodes of its drawing (svg), not of the elements in the
file. A point with ``outside="1"`` is not labeled, one with ``occluded="1"`` is hidden. A skeleton has no box:
it gets the rectangle that is grouped with it.
"""

import re
from collections import defaultdict
from dataclasses import dataclass, field
from pathlib import Path
from xml.etree.ElementTree import Element

import numpy as np

from posecore.data.formats.document import short
from posecore.data.importers.choices import choose_category
from posecore.data.importers.dataset import ImportedDataset, ImportedImage, ImportedPerson, SourceSkeleton
from posecore.data.importers.files import files_below, parse_xml, read_xml
from posecore.data.importers.image_sources import VideoFrame
from posecore.data.importers.images import ImageFinder, checked_size, clean_parts
from posecore.data.importers.notes import Notes
from posecore.data.importers.options import ImportOptions
from posecore.data.importers.values import Box, box_of_corners, number, pixels, whole


@dataclass
class _Shapes:
    """The skeletons and rectangles of an image.

    Attributes:
        skeletons: each with its group, None for none.
        boxes: group -> rectangles.
    """

    skeletons: list[tuple[np.ndarray, str | None]] = field(default_factory=list)
    boxes: dict[str, list[Box]] = field(default_factory=lambda: defaultdict(list))

    def persons(self, where: str, notes: Notes) -> tuple[ImportedPerson, ...]:
        """The persons; a skeleton of which nothing is labeled is one only with a box."""
        groups = [group for _, group in self.skeletons]
        persons = []
        for keypoints, group in self.skeletons:
            boxes = self.boxes.get(group, []) if group else []
            box = boxes[0] if len(boxes) == 1 and groups.count(group) == 1 else None
            if boxes and box is None:
                notes.remark(
                    "groups with several skeletons or rectangles: their boxes are made from the keypoints"
                )
            person = ImportedPerson(keypoints, box)
            if person.is_labeled or box is not None:
                persons.append(person)
            else:
                notes.leave_out("skeletons without a labeled point and without a box", where)
        return tuple(persons)


def is_cvat(source: Path) -> bool:
    """Whether a path is an XML file of CVAT, or a folder with one."""
    return _xml_file(source) is not None


def read_cvat(source: Path, options: ImportOptions) -> ImportedDataset:
    """Reads an annotation file, or the folder that has it.

    Raises:
        FileNotFoundError, ValueError: the file is missing or wrong; the message names it and the element.
    """
    file = _xml_file(source)
    if file is None:
        raise ValueError(f"{source} has no XML file of CVAT, whose root is <annotations>")
    root = _annotations(file)
    notes = Notes()
    skeletons = _skeletons(root, file)
    chosen = choose_category(skeletons, options.category, file)
    skeleton = skeletons[chosen]
    finder = ImageFinder([options.images, file.parent / "images", file.parent])
    if root.find("track") is not None:
        images = _read_tracks(root, file, skeleton, finder, notes)
    else:
        images = _read_images(root, file, skeleton, finder, notes)
    return ImportedDataset("cvat", skeleton, tuple(images), notes)


def _xml_file(source: Path) -> Path | None:
    if source.is_file():
        return source if source.suffix.lower() == ".xml" and _looks_like_cvat(source) else None
    files = [file for file in files_below(source) if file.suffix.lower() == ".xml"]
    files = [file for file in files if _looks_like_cvat(file)]
    if len(files) > 1:
        raise ValueError(
            f"{source} has several XML files of CVAT, {', '.join(str(file) for file in files[:3])}: name one "
            "of them"
        )
    return files[0] if files else None


def _looks_like_cvat(file: Path) -> bool:
    with file.open("rb") as opened:
        return b"<annotations" in opened.read(4096)


def _annotations(file: Path) -> Element:
    root = read_xml(file)
    if root.tag != "annotations":
        raise ValueError(f"{file} must have the root <annotations>, as CVAT writes it, not <{root.tag}>")
    version = (root.findtext("version") or "1.1").strip()
    if version.split(".")[0] != "1":
        raise ValueError(f"{file} is of version {version}; version 1.1 is read")
    return root


def _skeletons(root: Element, file: Path) -> dict[str, SourceSkeleton]:
    """The skeletons of a task, a job or a project by their names."""
    labels = root.findall("meta/*/labels/label")
    skeletons = {}
    for label in labels:
        name = (label.findtext("name") or "").strip()
        if (label.findtext("type") or "").strip() == "skeleton":
            children = [
                (child.findtext("name") or "").strip()
                for child in labels
                if (child.findtext("parent") or "").strip() == name
            ]
            skeletons[name] = _skeleton(name, label.findtext("svg") or "", children, file)
    return skeletons


def _skeleton(name: str, svg: str, children: list[str], file: Path) -> SourceSkeleton:
    where = f"{file}: the drawing (svg) of the skeleton {name!r}"
    # Attributes without a prefix are enough here, and the drawing has no root of its own.
    drawing = parse_xml(f"<svg>{svg}</svg>", where)
    nodes: dict[int, str] = {}
    for circle in drawing.iter("circle"):
        identity = circle.get("data-node-id") or circle.get("data-element-id")
        if identity is None:
            continue
        place = whole(identity, f"{where}: data-node-id")
        nodes[place] = circle.get("data-label-name") or ""
    if nodes and not all(nodes.values()):
        # Files from CVAT's interface for programs name the labels by numbers that only the server knows.
        if len(children) != len(nodes):
            raise ValueError(
                f"{where} does not name its points, and the labels of the skeleton are {children}"
            )
        nodes = dict(zip(sorted(nodes), children, strict=True))
    if not nodes:
        nodes = dict(enumerate(children, start=1))
    names = tuple(nodes[place] for place in sorted(nodes))
    if not names or len(set(names)) < len(names):
        raise ValueError(f"{where} must have points of different names, not {list(names)}")
    limbs = []
    for line in drawing.iter("line"):
        ends = [line.get(f"data-node-{end}") for end in ("from", "to")]
        places = [whole(end, f"{where}: a line") for end in ends if end is not None]
        if len(places) == 2 and all(place in nodes for place in places):
            limbs.append((nodes[places[0]], nodes[places[1]]))
    return SourceSkeleton(name, names, None, tuple(limbs))


def _keypoints(
    elements: list[Element], names: tuple[str, ...], where: str, seen: set[str] | None = None
) -> np.ndarray:
    """(K, 3) of the points of a skeleton."""
    keypoints = np.zeros((len(names), 3))
    given = set()
    for point in elements:
        label = point.get("label")
        if label not in names:
            raise ValueError(f"{where}: its point {label!r} is none of the skeleton's, {list(names)}")
        if label in given:
            raise ValueError(f"{where}: its point {label!r} occurs twice")
        given.add(label)
        if point.get("outside") == "1":
            continue
        coordinates = (point.get("points") or "").split(",")
        if len(coordinates) != 2:
            raise ValueError(f"{where}: its point {label!r} must have x,y, not {short(point.get('points'))}")
        x, y = (number(text, f"{where}: its point {label!r}") for text in coordinates)
        keypoints[names.index(label)] = x, y, 1 if point.get("occluded") == "1" else 2
    return keypoints


def _box(element: Element, where: str) -> Box:
    corners = [number(element.get(key), f"{where}: {key} of a box") for key in ("xtl", "ytl", "xbr", "ybr")]
    return box_of_corners(*corners)


def _group(element: Element) -> str | None:
    group = element.get("group_id")
    return group if group not in (None, "", "0") else None


def _read_images(
    root: Element, file: Path, skeleton: SourceSkeleton, finder: ImageFinder, notes: Notes
) -> list[ImportedImage]:
    images: list[ImportedImage] = []
    names: set[str] = set()
    for element in root.iterfind("image"):
        name = element.get("name") or ""
        where = f"{file}: image {name!r}"
        if not clean_parts(name):
            raise ValueError(f"{file}: an <image> must have a name")
        shapes = _Shapes()
        for child in element:
            if child.tag == "skeleton" and child.get("label") == skeleton.category:
                points = _keypoints(child.findall("points"), skeleton.keypoints, where)
                shapes.skeletons.append((points, _group(child)))
            elif child.tag == "box" and _group(child):
                shapes.boxes[_group(child) or ""].append(_box(child, where))
            elif child.tag == "skeleton":
                notes.leave_out(
                    f"skeletons of other labels than {skeleton.category!r}", f"{name}: {child.get('label')}"
                )
            else:
                notes.leave_out(f"shapes of the kind <{child.tag}>", f"{name}: {child.get('label')}")
        stated = (
            pixels(element.get("width"), f"{where}: width"),
            pixels(element.get("height"), f"{where}: height"),
        )
        subset = element.get("subset") or None
        path = (finder.find(f"{subset}/{name}") if subset else None) or finder.find(name)
        video = None
        if path is None and re.fullmatch(r"frame_\d+", name):
            path = finder.find_stem(name)
        if re.fullmatch(r"frame_\d+(\.\w+)?", name):
            video = element.get("task_id") or file.parent.name
        full = "/".join(clean_parts(name if Path(name).suffix else f"{name}.PNG"))
        full = f"{subset}/{full}" if subset else full
        if full in names and element.get("task_id"):
            # Frames of several tasks of a project have the same names.
            full = f"task{element.get('task_id')}/{full}"
        names.add(full)
        persons = shapes.persons(name, notes)
        if (size := checked_size(full, path, stated, notes)) is not None:
            images.append(ImportedImage(full, path, *size, persons, subset, video))
    return images


def _read_tracks(
    root: Element, file: Path, skeleton: SourceSkeleton, finder: ImageFinder, notes: Notes
) -> list[ImportedImage]:
    """The frames on which something of the tracks is present."""
    frames: dict[int, _Shapes] = defaultdict(_Shapes)
    for track in root.iterfind("track"):
        label, group = track.get("label"), _group(track)
        where = f"{file}: track {track.get('id')}"
        if label == skeleton.category:
            for frame, points in _track_points(track, where).items():
                place = f"{where}, frame {frame}"
                keypoints = _keypoints(points, skeleton.keypoints, place)
                if keypoints[:, 2].any() or group:
                    frames[frame].skeletons.append((keypoints, group))
        elif group and track.find("box") is not None:
            for box in track.iterfind("box"):
                if box.get("outside") != "1":
                    frames[_frame(box, where)].boxes[group].append(_box(box, where))
        else:
            notes.leave_out(
                f"tracks of other labels than {skeleton.category!r}", f"track {track.get('id')}: {label}"
            )
    width, height = (root.find(f"meta/*/original_size/{side}") for side in ("width", "height"))
    stated = None
    if width is not None and height is not None:
        stated = (
            pixels(width.text, f"{file}: original_size width"),
            pixels(height.text, f"{file}: original_size height"),
        )
    film = _film(root, finder)
    images = []
    for frame in sorted(frames):
        stem = f"frame_{frame:06d}"
        path: Path | VideoFrame | None = finder.find_stem(stem)
        if path is None and film is not None:
            path = VideoFrame(film, frame)
        name = f"{stem}{path.suffix}" if isinstance(path, Path) else f"{stem}.PNG"
        persons = frames[frame].persons(name, notes)
        if not persons:
            continue
        if (size := checked_size(name, path, stated, notes)) is not None:
            images.append(ImportedImage(name, path, *size, persons, None, file.parent.name))
    return images


def _film(root: Element, finder: ImageFinder) -> Path | None:
    """The video of a task, where the frames of the task are those of the video, all from the first."""
    task = next(root.iterfind("meta/*"), None)
    source = "" if task is None else (task.findtext("source") or "").strip()
    if task is None or not source or (task.findtext("frame_filter") or "").strip():
        return None
    return finder.find(source) if (task.findtext("start_frame") or "0").strip() == "0" else None


def _frame(element: Element, where: str) -> int:
    return whole(element.get("frame"), f"{where}: frame")


def _track_points(track: Element, where: str) -> dict[int, list[Element]]:
    """Frame -> points of a track: within its skeletons, or, in older files, in tracks of their own."""
    points: dict[int, list[Element]] = {}
    for element in track.iterfind("skeleton"):
        if element.get("outside") != "1":
            points[_frame(element, where)] = element.findall("points")
    for inner in track.iterfind("track"):
        for point in inner.iterfind("points"):
            frame = _frame(point, where)
            if frame in points:
                point.set("label", inner.get("label") or "")
                points[frame].append(point)
    return points
