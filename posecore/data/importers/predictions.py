"""Reads poses that a model of this project has found, as labels: :func:`read_predictions`.

``tools/predict.py`` writes them as ``poses.json``. They are read only where the user asks for it
(``--format predictions``), because poses that a model has found are as good as the model.
"""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np

from posecore.data.formats.document import short
from posecore.data.importers.dataset import ImportedDataset, ImportedImage, ImportedPerson, SourceSkeleton
from posecore.data.importers.files import read_json
from posecore.data.importers.image_sources import ImageSource, VideoFrame
from posecore.data.importers.images import VIDEO_ENDINGS, ImageFinder, checked_size, clean_parts
from posecore.data.importers.notes import WARNING, Notes
from posecore.data.importers.options import ImportOptions
from posecore.data.importers.values import Box, box_of_corners, number, pixels

_FILE = "poses.json"


def is_predictions(source: Path) -> bool:
    """Never: predictions are read only where --format asks for them."""
    return False


def read_predictions(source: Path, options: ImportOptions) -> ImportedDataset:
    """Reads poses.json, or that of a folder.

    Persons with a score below ``options.min_score`` are left out; their keypoints with a confidence below
    ``options.min_keypoint_score`` are not labeled, all others count as visible.

    Raises:
        FileNotFoundError, ValueError: the file is missing or wrong; the message names it and the record.
    """
    file = source / _FILE if source.is_dir() else source
    records = read_json(file)
    if not isinstance(records, list) or not all(isinstance(record, dict) for record in records):
        raise ValueError(f"{file} must be a list of images, as tools/predict.py writes {_FILE}")
    notes = Notes()
    notes.remark(
        f"{WARNING}: the labels are poses that a model has found, with a score of {options.min_score:g} or "
        "more: look at them before you trust a figure that is measured on them"
    )
    names: tuple[str, ...] | None = None
    people_of = []
    for place, record in enumerate(records):
        where = f"{file}, image {place}"
        people = record.get("people")
        if not isinstance(people, list) or not all(isinstance(person, dict) for person in people):
            raise ValueError(f"{where}: people must be a list of persons, not {short(people)}")
        for person in people:
            own = person.get("keypoints")
            if not isinstance(own, dict) or not own:
                raise ValueError(
                    f"{where}: keypoints must have x, y and confidence by name, not {short(own)}"
                )
            if names is not None and tuple(own) != names:
                raise ValueError(f"{where}: keypoints must be {list(names)} as before, not {list(own)}")
            names = tuple(own)
        people_of.append(people)
    if names is None:
        raise ValueError(f"{file} has no person: there is nothing to take as a label")
    finder = ImageFinder([options.images, file.parent])
    images = []
    for place, (record, people) in enumerate(zip(records, people_of, strict=True)):
        where = f"{file}, image {place}"
        name, found, video = _source(record, where, finder)
        stated = (
            pixels(record.get("width"), f"{where}: width"),
            pixels(record.get("height"), f"{where}: height"),
        )
        size = checked_size(name, found, stated, notes)
        if size is not None:
            persons = [_person(person, f"{where} ({name})", name, options, notes) for person in people]
            kept = tuple(person for person in persons if person is not None)
            images.append(ImportedImage(name, found, *size, kept, None, video))
    return ImportedDataset("predictions", SourceSkeleton("person", names), tuple(images), notes)


def _source(
    record: Mapping[str, Any], where: str, finder: ImageFinder
) -> tuple[str, ImageSource, str | None]:
    """The name of an image, its file or frame, and its video."""
    given, frame = record.get("name"), record.get("number")
    if not isinstance(given, str) or not clean_parts(given):
        raise ValueError(f"{where}: name must be that of an image or a video, not {short(given)}")
    name = "/".join(clean_parts(given))
    if frame is None:
        return name, finder.find(given), None
    if type(frame) is not int or frame < 0:
        raise ValueError(f"{where}: number must be that of a frame, from 0, not {short(frame)}")
    video = finder.find(given)
    is_video = video is not None and video.suffix.lower() in VIDEO_ENDINGS
    frame_name = f"{Path(name).with_suffix('').as_posix()}/{frame:06d}.png"
    return frame_name, VideoFrame(video, frame) if video is not None and is_video else None, name


def _person(
    person: Mapping[str, Any], where: str, name: str, options: ImportOptions, notes: Notes
) -> ImportedPerson | None:
    """A person whose score is high enough."""
    score = number(person.get("score"), f"{where}: score")
    if score < options.min_score:
        notes.leave_out(f"persons with a score below {options.min_score:g} (--min-score)", name)
        return None
    keypoints = []
    for key, value in person["keypoints"].items():
        if not isinstance(value, list) or len(value) != 3:
            raise ValueError(f"{where}: {key} must be x, y and confidence, not {short(value)}")
        x, y, confidence = (number(part, f"{where}: {key}") for part in value)
        # Poses are in continuous pixels, COCO's files have the center of the first pixel at 0.
        keypoints.append((x - 0.5, y - 0.5, 2.0) if confidence >= options.min_keypoint_score else (0, 0, 0))
    return ImportedPerson(np.array(keypoints, dtype=float), _box(person.get("box"), where))


def _box(corners: Any, where: str) -> Box:
    if not isinstance(corners, list) or len(corners) != 4:
        raise ValueError(f"{where}: box must be x0, y0, x1 and y1, not {short(corners)}")
    x0, y0, x1, y1 = (number(value, f"{where}: box") for value in corners)
    return box_of_corners(x0, y0, x1, y1)
