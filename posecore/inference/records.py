"""The records of poses.json: :func:`pose_record` makes one, :class:`RecordFile` writes them as a stream.

A file of records is a JSON list with a record in each line. It is written under the name of an unfinished
file and gets its own name when the list is complete. An unfinished file that a killed process leaves lacks
the end of the list and perhaps that of its last line; :func:`recover_records` makes a whole list of it.
"""

import fcntl
import json
import os
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import IO, Any

from detectron2.structures import Instances

from posecore.config.merge import UsageError
from posecore.inference.video import SourceImage
from posecore.structures.skeleton import Skeleton

_OPENING, _SEPARATOR, _CLOSING = b"[\n", b",\n", b"\n]\n"


def pose_record(frame: SourceImage, poses: Instances, skeleton: Skeleton) -> dict[str, Any]:
    """The record of an image in poses.json.

    Args:
        frame: the image.
        poses: pred_boxes, scores and pred_keypoints; where persons are tracked ``track_ids`` too (0 for a
            person without an identity yet), and where they are smoothed ``smoothed_keypoints``, (M, K, 3).
        skeleton: names the keypoints.

    Returns:
        The image's name, its number and its time in the video (None outside a video; the time is in seconds
        from the video's first image), its height and width in pixels, and its people: per person the score,
        the box (x0, y0, x1, y1) and the keypoints (x, y, confidence) by name, in continuous pixels. A tracked
        person has an ``id``, None where it has none yet, and a smoothed one ``smoothed`` keypoints beside the
        predicted ones.
    """
    people: list[dict[str, Any]] = []
    for score, box, keypoints in zip(
        poses.scores.tolist(), poses.pred_boxes.tensor.tolist(), poses.pred_keypoints.tolist(), strict=True
    ):
        named = dict(zip(skeleton.keypoints, keypoints, strict=True))
        people.append({"score": score, "box": box, "keypoints": named})
    if poses.has("track_ids"):
        for person, identity in zip(people, poses.track_ids.tolist(), strict=True):
            person["id"] = identity or None
    if poses.has("smoothed_keypoints"):
        for person, keypoints in zip(people, poses.smoothed_keypoints.tolist(), strict=True):
            person["smoothed"] = dict(zip(skeleton.keypoints, keypoints, strict=True))
    height, width = frame.image.shape[:2]
    return {
        "name": frame.name,
        "number": frame.number,
        "time": frame.time,
        "height": height,
        "width": width,
        "people": people,
    }


class RecordFile:
    """Writes a JSON list as a stream: what :meth:`write` was given is in the file at once.

    The file is locked until it is finished or the process ends, so that no other process takes it for one
    that was left behind.

    Args:
        unfinished: the file while it is written; one that is there is replaced.

    Attributes:
        count: records so far.

    Raises:
        OSError: the file cannot be made.
        UsageError: another process writes it.
    """

    def __init__(self, unfinished: Path) -> None:
        self.unfinished = unfinished
        self.count = 0
        self._end = len(_OPENING)
        self._file = os.fdopen(os.open(unfinished, os.O_RDWR | os.O_CREAT, 0o666), "r+b", buffering=0)
        _lock(self._file, unfinished)
        self._file.truncate(0)
        self._append(_OPENING)

    def write(self, record: Mapping[str, Any]) -> None:
        """Appends a record.

        Raises:
            UsageError: the file cannot be written; it then ends with the record before.
        """
        line = (_SEPARATOR if self.count else b"") + json.dumps(record).encode()
        try:
            self._append(line)
        except OSError as error:
            self._file.truncate(self._end)
            self._file.seek(self._end)
            raise UsageError(f"{self.unfinished} cannot be written: {error.strerror}") from error
        self._end += len(line)
        self.count += 1

    def finish(self, target: Path) -> None:
        """Ends the list and gives the file its name, where it replaces another.

        Raises:
            UsageError: the file cannot be written or renamed.
        """
        try:
            self._append(_CLOSING)
            self._file.close()
            os.replace(self.unfinished, target)
        except OSError as error:
            raise UsageError(f"{target} cannot be written: {error.strerror}") from error

    def discard(self) -> None:
        """Deletes the file."""
        self._file.close()
        self.unfinished.unlink(missing_ok=True)

    def _append(self, content: bytes) -> None:
        while content:  # a full disk takes a part first, and refuses the next
            content = content[self._file.write(content) :]


def recover_records(unfinished: Path, target: Path) -> int:
    """Makes a whole list of the records in an unfinished file, and deletes that file.

    The file is read as a stream. Where it has no whole record, nothing is written.

    Args:
        unfinished: what a :class:`RecordFile` of a killed process left.
        target: the file to write, which replaces another.

    Returns:
        How many records there are.

    Raises:
        OSError: a file cannot be read.
        UsageError: a file cannot be written, or another process still writes the unfinished one.
    """
    with unfinished.open("rb") as file:
        _lock(file, unfinished)
        records = RecordFile(target.with_name(f"{target.name}.recovered"))
        for record in unfinished_records(unfinished):
            records.write(record)
        if records.count:
            records.finish(target)
        else:
            records.discard()
        unfinished.unlink()
    return records.count


def read_records(file: Path) -> Iterator[dict[str, Any]]:
    """The records of a poses.json, one by one; as a stream where each has a line of its own.

    Raises:
        OSError: the file cannot be read.
        ValueError: it is no list of records.
    """
    with file.open("rb") as lines:
        if lines.readline() == _OPENING and _record(lines.readline()) is not None:
            lines.seek(len(_OPENING))
            for line in lines:
                if line.strip() == _CLOSING.strip():
                    return
                if (record := _record(line)) is None:
                    break
                yield record
            raise ValueError(f"{file} is cut or damaged: its list of records has no end")
    try:
        content = json.loads(file.read_bytes())
    except (ValueError, RecursionError) as error:
        raise ValueError(f"{file} is not valid JSON: {error}") from error
    if not isinstance(content, list) or not all(isinstance(record, dict) for record in content):
        raise ValueError(f"{file} must be a list of records, as poses.json is")
    yield from content


def unfinished_records(file: Path) -> Iterator[dict[str, Any]]:
    """The records of a file that a :class:`RecordFile` has not finished, up to the first that is not whole.

    Raises:
        OSError: the file cannot be read.
    """
    with file.open("rb") as lines:
        if lines.readline() == _OPENING:
            for line in lines:
                if (record := _record(line)) is None:
                    return
                yield record


def _lock(file: IO[bytes], path: Path) -> None:
    """Locks an open file; on a file system without locks it counts as free.

    Raises:
        UsageError: another process has locked it.
    """
    try:
        fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError as error:
        file.close()
        raise UsageError(
            f"another prediction writes {path}: wait for its end, or choose another --output"
        ) from error
    except OSError:
        pass


def _record(line: bytes) -> dict[str, Any] | None:
    """The record of a line; None where it has none that is whole."""
    try:
        record = json.loads(line.rstrip().removesuffix(b","))
    except (ValueError, RecursionError):
        return None
    return record if isinstance(record, dict) else None
