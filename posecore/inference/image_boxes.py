"""Boxes of persons from a file, for images by their names (:class:`ImageBoxes`)."""

from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any

import numpy as np
from pydantic import Field

from posecore.config.merge import UsageError
from posecore.data import PersonBoxes, read_detections
from posecore.data.formats.document import Coordinate, Entry, FileName, Number, load_json, validated
from posecore.inference.video import Source, SourceImage

# How many of a file's images an error message names.
_NAMED = 5


@dataclass(frozen=True)
class ImageBoxes:
    """The boxes of a file by image.

    Attributes:
        file: for messages.
        boxes: by the image's name and number in its video where the file is a poses.json, else by image_id.
        by_image_id: whether the keys are image_ids.
    """

    file: Path
    boxes: Mapping[Any, PersonBoxes]
    by_image_id: bool

    @classmethod
    def read(cls, file: Path) -> "ImageBoxes":
        """Reads a poses.json of tools/predict.py, or detections in COCO's result format.

        Raises:
            FileNotFoundError, ValueError: the file is missing, or is neither; names it.
        """
        content = load_json(file, "--boxes")
        if isinstance(content, list) and any(isinstance(item, dict) and "people" in item for item in content):
            return cls(file, _poses(file, content), by_image_id=False)
        return cls(file, read_detections(file), by_image_id=True)

    def check(self, sources: Sequence[Source]) -> None:
        """Checks before a prediction that the file knows its images.

        Raises:
            UsageError: the file has detections of images and a source is a video, an image is not in the
                file, none of them is, or two images would get the same boxes.
        """
        if not self.by_image_id:
            known = {name for name, _ in self.boxes}
            for source in sources:
                if source.name not in known:
                    raise self._unknown(source.name)
            return
        users = defaultdict(list)
        for source in sources:
            if source.kind != "image":
                raise UsageError(
                    f"--boxes: {self.file} has detections by image_id, which do not fit the video {source}; "
                    "give the poses.json of a prediction on it"
                )
            users[self._key(source.name)].append(source.name)
        matched = {key: names for key, names in users.items() if key in self.boxes}
        if sources and not matched:
            raise self._unknown(Path(sources[0].name).stem)
        for key, names in matched.items():
            if len(names) > 1:
                raise UsageError(
                    f"--boxes: images {names[0]} and {names[1]} would both get the boxes of image_id {key!r} "
                    f"of {self.file}; predict them one by one, or give a poses.json"
                )
        for source in sources:
            self._of_image(source.name)

    def __call__(self, frame: SourceImage) -> PersonBoxes:
        """The boxes of an image.

        An image_id is the image's name without its ending, or the number that this name is. Where the file
        has the name as text, this comes first.

        Raises:
            UsageError: the file does not know the image.
        """
        if self.by_image_id:
            return self._of_image(frame.name)
        key = frame.name, frame.number
        if key not in self.boxes:
            raise self._unknown(key)
        return self.boxes[key]

    def _of_image(self, name: str) -> PersonBoxes:
        key = self._key(name)
        if key in self.boxes:
            return self.boxes[key]
        if isinstance(key, int):
            # Detectors write nothing for an image without persons.
            return PersonBoxes(np.zeros((0, 4)), np.zeros(0))
        raise self._unknown(key)

    def _key(self, name: str) -> str | int:
        """The image_id of an image: of those it may have, the first that the file has, else the last."""
        path = Path(name)
        keys: list[str | int] = [str(path.with_suffix("")), path.stem]
        if path.stem.isascii() and path.stem.isdecimal():
            keys.append(int(path.stem))
        return next((key for key in keys if key in self.boxes), keys[-1])

    def _unknown(self, image: Any) -> UsageError:
        some = list(self.boxes)[:_NAMED]
        return UsageError(f"--boxes: {self.file} has nothing of image {image}; it has {some}")


class _PersonEntry(Entry):
    """What is read of a person."""

    box: tuple[Coordinate, Coordinate, Coordinate, Coordinate] = Field(
        description="x1, y1, x2, y2, finite numbers"
    )
    score: Number = Field(description="a finite number")


class _Record(Entry):
    """What is read of a record of poses.json."""

    name: FileName
    number: Annotated[int, Field(strict=True)] | None = Field(description="a whole number, or null")
    people: list = Field(description="a list")


def _poses(file: Path, records: list[Any]) -> dict[tuple[str, int | None], PersonBoxes]:
    """The boxes of a poses.json by the name and the number of the image."""
    boxes: dict[tuple[str, int | None], PersonBoxes] = {}
    for index, record in enumerate(records):
        try:
            (entry,) = validated([record], _Record, "record")
            people = list(validated(entry.people, _PersonEntry, "person", key="people"))
        except ValueError as error:
            raise ValueError(
                f"{file}: record {index} must have name, number and people with box and score, as poses.json "
                f"has them: {str(error).removeprefix('record at index 0').lstrip(': ')}"
            ) from error
        key = entry.name, entry.number
        if key in boxes:
            raise ValueError(f"{file}: record {index}: {entry.name}, number {entry.number}, is there twice")
        boxes[key] = PersonBoxes(
            np.array([person.box for person in people], dtype=float).reshape(-1, 4),
            np.array([person.score for person in people], dtype=float),
        )
    return boxes
