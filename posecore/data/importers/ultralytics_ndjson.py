"""Reads the NDJSON files of Ultralytics' platform: :func:`read_ultralytics_ndjson`.

The first line describes the dataset, and each other line is an image with its rows, which are those of the
text files (:mod:`posecore.data.importers.ultralytics`). Images are looked for beside the file; the addresses
in it are not fetched.
"""

import json
from pathlib import Path
from typing import Any

from posecore.data.formats.document import short
from posecore.data.importers.choices import only_file
from posecore.data.importers.dataset import ImportedDataset
from posecore.data.importers.files import read_text
from posecore.data.importers.images import ImageFinder, checked_size, clean_parts
from posecore.data.importers.notes import Notes
from posecore.data.importers.options import ImportOptions
from posecore.data.importers.ultralytics import Row, class_names, gather_dataset, keypoint_shape, read_row
from posecore.data.importers.values import number, pixels

_ENDING = ".ndjson"


def is_ultralytics_ndjson(source: Path) -> bool:
    """Whether a path is such a file, or the folder of one."""
    return bool(_files(source))


def read_ultralytics_ndjson(source: Path, options: ImportOptions) -> ImportedDataset:
    """Reads the file, or the only one of a folder.

    Raises:
        FileNotFoundError, ValueError: the file is missing or wrong; the message names it, and the line.
    """
    file = only_file(_files(source), source, f"file that ends in {_ENDING}")
    notes = Notes()
    header, *records = _records(file)
    if header.get("task", "pose") != "pose" or "class_names" not in header:
        raise ValueError(
            f"{file}, line 1 must describe a dataset of the task pose, with class_names, not {short(header)}"
        )
    names = class_names({"names": header["class_names"]}, file)
    rows_of = [_rows(record, f"{file}, line {line}") for line, record in enumerate(records, start=2)]
    shape = header.get("kpt_shape") or _guess_shape(rows_of, file)
    count, values = keypoint_shape(shape, file)
    finder = ImageFinder([options.images, file.parent])
    images: list[tuple[str, Path | None, tuple[int, int], str]] = []
    rows: dict[str, list[Row]] = {}
    for line, (record, own) in enumerate(zip(records, rows_of, strict=True), start=2):
        where = f"{file}, line {line}"
        given = record.get("file")
        if not isinstance(given, str) or not clean_parts(given):
            raise ValueError(f"{where}: file must be the name of an image, not {short(given)}")
        name = "/".join(clean_parts(given))
        if name in rows:
            notes.leave_out("images that are named before, maybe in another split", name)
            continue
        stated = None
        if record.get("width") is not None and record.get("height") is not None:
            stated = pixels(record["width"], f"{where}: width"), pixels(record["height"], f"{where}: height")
        path = finder.find(given)
        size = checked_size(name, path, stated, notes)
        if size is None:
            continue
        split = record.get("split") or "train"
        if not isinstance(split, str):
            raise ValueError(f"{where}: split must be the name of one, such as train, not {short(split)}")
        images.append((name, path, size, split))
        rows[name] = [
            read_row(row, f"{where}, pose {place}", size, len(names), count, values, notes)
            for place, row in enumerate(dict.fromkeys(own), start=1)
        ]
    return gather_dataset(header, names, count, images, rows, file, options, notes, "ultralytics-ndjson")


def _files(source: Path) -> list[Path]:
    if source.is_dir():
        return sorted(file for file in source.iterdir() if file.suffix.lower() == _ENDING)
    return [source] if source.suffix.lower() == _ENDING else []


def _records(file: Path) -> list[dict[str, Any]]:
    """The objects of the lines."""
    records = []
    for line, text in enumerate(read_text(file).splitlines(), start=1):
        if not text.strip():
            continue
        try:
            record = json.loads(text)
        except (ValueError, RecursionError) as error:
            raise ValueError(f"{file}, line {line} is not valid JSON: {error}") from error
        if not isinstance(record, dict):
            raise ValueError(f"{file}, line {line} must be a JSON object, not {short(record)}")
        records.append(record)
    if len(records) < 2:
        raise ValueError(f"{file} must have a line that describes the dataset, and one for each image")
    return records


def _rows(record: dict[str, Any], where: str) -> list[tuple[float, ...]]:
    """The rows of an image; none where it has no persons."""
    annotations = record.get("annotations") or {}
    if not isinstance(annotations, dict):
        raise ValueError(f"{where}: annotations must be an object, not {short(annotations)}")
    rows = annotations.get("pose") or []
    if not isinstance(rows, list) or not all(isinstance(row, list) for row in rows):
        raise ValueError(f"{where}: annotations.pose must be a list of rows of numbers, not {short(rows)}")
    return [tuple(number(value, f"{where}: annotations.pose") for value in row) for row in rows]


def _guess_shape(rows_of: list[list[tuple[float, ...]]], file: Path) -> list[int]:
    """kpt_shape by the lengths of the rows, where the file does not state it."""
    rows = [row for own in rows_of for row in own]
    lengths = sorted({len(row) - 5 for row in rows})
    if len(lengths) == 1 and lengths[0] > 0:
        (length,) = lengths
        has_visibility = length % 3 == 0 and all(value in (0, 1, 2) for row in rows for value in row[7::3])
        if has_visibility:
            return [length // 3, 3]
        if length % 2 == 0:
            return [length // 2, 2]
    raise ValueError(
        f"{file}, line 1 has no kpt_shape, and the lengths of the rows do not tell it: add "
        '"kpt_shape": [number of keypoints, 2 or 3]'
    )
