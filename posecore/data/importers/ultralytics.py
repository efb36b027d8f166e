"""Reads datasets of Ultralytics YOLO-pose, and CVAT's export of the same format: :func:`read_ultralytics`.

A YAML file names the folders or lists of images; beside each image lies a text file with a row for each
person: ``class cx cy w h`` and ``x y`` or ``x y v`` of each keypoint, all but class and v as shares of the
image. The rules are those of Ultralytics' own reader, except that a wrong row is an error instead of a
dropped image, and that ``0 0`` without v is not labeled.
"""

import os
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path, PurePosixPath, PureWindowsPath
from typing import Any

import numpy as np

from posecore.data.formats.document import short
from posecore.data.images import IMAGE_ENDINGS
from posecore.data.importers.choices import choose_category, named_keypoints
from posecore.data.importers.dataset import ImportedDataset, ImportedImage, ImportedPerson, SourceSkeleton
from posecore.data.importers.files import files_below, read_text, read_yaml
from posecore.data.importers.images import (
    ImageFinder,
    checked_size,
    clean_parts,
    relative_name,
    roboflow_original,
)
from posecore.data.importers.notes import Notes
from posecore.data.importers.options import ImportOptions
from posecore.data.importers.values import Box, number

# Shares beyond the image by more than this are wrong, as in Ultralytics' reader.
SLACK = 0.01
_SPLITS = {"train": ("train",), "val": ("val", "validation"), "test": ("test",)}
# Keypoints and classes at most; a forged number would take all memory.
_MOST = 10_000


@dataclass(frozen=True)
class Row:
    """The row of a person: its class, its box in pixels, and its keypoints (K, 3) in pixels."""

    category: int
    box: Box
    keypoints: np.ndarray


def is_ultralytics(source: Path) -> bool:
    """Whether a path is the YAML file of such a dataset, or the folder of one."""
    return _yaml_file(source) is not None


def read_ultralytics(source: Path, options: ImportOptions) -> ImportedDataset:
    """Reads a dataset by its YAML file, or by the folder that has it.

    Raises:
        FileNotFoundError, ValueError: a file is missing or wrong; the message names it, and the row.
    """
    file = _yaml_file(source)
    if file is None:
        raise ValueError(
            f"{source} has no YAML file with the key kpt_shape, as Ultralytics' pose datasets have"
        )
    content, notes = read_yaml(file), Notes()
    count, values = keypoint_shape(content.get("kpt_shape"), file)
    names = class_names(content, file)
    root = _root(content, file, options)
    rows: dict[str, list[Row]] = {}
    seen: set[str] = set()
    images: list[tuple[str, Path | None, tuple[int, int], str]] = []
    paths: list[Path] = []
    for split, path in _images(content, root, file, notes):
        name = _name(path, root)
        if name in seen:
            notes.leave_out("images that are named before, maybe in another split", name)
            continue
        seen.add(name)
        size = checked_size(name, path, None, notes)
        if size is not None:
            images.append((name, path, size, split))
            paths.append(path)
            rows[name] = _read_rows(_label_file(path), size, len(names), count, values, notes)
    if paths and not any(_label_file(path).is_file() for path in paths):
        raise FileNotFoundError(
            f"{file}: none of the {len(paths)} images has a file of labels; that of {paths[0]} would be "
            f"{_label_file(paths[0])}"
        )
    return gather_dataset(content, names, count, images, rows, file, options, notes, "ultralytics")


def gather_dataset(
    content: Mapping[str, Any],
    names: Sequence[str],
    count: int,
    images: Sequence[tuple[str, Path | None, tuple[int, int], str]],
    rows: Mapping[str, list[Row]],
    file: Path,
    options: ImportOptions,
    notes: Notes,
    format: str,
) -> ImportedDataset:
    """The dataset of the images and rows that were read.

    Args:
        content: the description of the dataset: kpt_names, flip_idx and kpt_oks_sigmas where it has them.
        names: of the classes.
        count: number of keypoints.
        images: name, file, size (width, height) and split of each.
        rows: of each image by its name.
        file: the description, for messages.
        options, notes: as :func:`read_ultralytics` has them.
        format: a key of :data:`posecore.data.importers.IMPORTERS`.
    """
    used = sorted({row.category for found in rows.values() for row in found})
    chosen = choose_category([names[index] for index in used] or names[:1], options.category, file)
    kept = count
    if len(used) > 1:
        kept = _labeled_count(rows, names.index(chosen), count)
        if kept < count:
            notes.remark(
                f"keypoints {kept} to {count - 1} of {chosen!r} are never labeled: they fill up the rows of "
                "a smaller skeleton and are left out"
            )
    result = []
    for name, path, size, split in images:
        for row in rows[name]:
            if names[row.category] != chosen:
                notes.leave_out(
                    f"persons of other categories than {chosen!r}", f"{name}: {names[row.category]}"
                )
        persons = tuple(
            ImportedPerson(row.keypoints[:kept], row.box)
            for row in rows[name]
            if names[row.category] == chosen
        )
        result.append(ImportedImage(name, path, *size, persons, split, roboflow_original(name)))
    skeleton = _skeleton(content, chosen, names.index(chosen), count, kept, file, options, notes)
    return ImportedDataset(format, skeleton, tuple(result), notes)


def _yaml_file(source: Path) -> Path | None:
    """The YAML file that has kpt_shape."""
    if source.is_dir():
        files = sorted([*source.glob("*.yaml"), *source.glob("*.yml")])
        return next((file for file in files if _has_shape(file)), None)
    return source if source.suffix in (".yaml", ".yml") and _has_shape(source) else None


def _has_shape(file: Path) -> bool:
    try:
        content = read_yaml(file)
    except (OSError, ValueError):
        return False
    # A dataset of boxes alone lacks kpt_shape, which is then the error.
    return "kpt_shape" in content or (
        {"train", "val"} <= content.keys() and bool({"names", "nc"} & content.keys())
    )


def keypoint_shape(shape: Any, file: Path) -> tuple[int, int]:
    """The number of keypoints and of values of each, 2 or 3.

    Raises:
        ValueError: kpt_shape is something else; the message names the file.
    """
    valid = isinstance(shape, list) and len(shape) == 2 and all(type(value) is int for value in shape)
    if not valid or not 1 <= shape[0] <= _MOST or shape[1] not in (2, 3):
        raise ValueError(
            f"{file}: kpt_shape must be [number of keypoints, 2 or 3 values of each], not {short(shape)}"
        )
    return shape[0], shape[1]


def class_names(content: Mapping[str, Any], file: Path) -> list[str]:
    """The names of the classes by their numbers."""
    names = content.get("names")
    if names is None and type(content.get("nc")) is int and 0 < content["nc"] <= _MOST:
        return [f"class{index}" for index in range(content["nc"])]
    if isinstance(names, dict):
        try:
            numbered = {int(key): str(value) for key, value in names.items()}
        except (TypeError, ValueError, OverflowError):
            numbered = {}
        if sorted(numbered) == list(range(len(numbered))) and numbered:
            return [numbered[index] for index in range(len(numbered))]
    elif isinstance(names, list) and names:
        return [str(name) for name in names]
    raise ValueError(
        f"{file}: names must list the classes, or map numbers from 0 to them, not {short(names)}"
    )


def _root(content: dict[str, Any], file: Path, options: ImportOptions) -> Path:
    """The folder that the paths of the file start at."""
    if options.images is not None:
        return options.images
    path = content.get("path")
    if path is None or not isinstance(path, str):
        return file.parent
    folder = file.parent / Path(path).expanduser()
    return folder if folder.is_dir() else file.parent


def _images(content: dict[str, Any], root: Path, file: Path, notes: Notes) -> Iterator[tuple[str, Path]]:
    """The images with their splits, in the order of their paths."""
    found = False
    for split, keys in _SPLITS.items():
        value = next((content[key] for key in keys if content.get(key)), None)
        if value is None:
            continue
        places = value if isinstance(value, list) else [value]
        for place in places:
            if not isinstance(place, str):
                raise ValueError(f"{file}: {split} must be a path or a list of paths, not {short(value)}")
            path = _place(place, root)
            if path is None:
                if split == "test":
                    notes.remark(f"the folder of the test images, {place}, does not exist")
                    continue
                raise FileNotFoundError(f"{file}: {split} is {place}, which does not exist below {root}")
            found = True
            yield from ((split, image) for image in _images_of(path, root, notes))
    if not found:
        raise ValueError(f"{file} must name images as train, val or test")


def _place(place: str, root: Path) -> Path | None:
    """A path of the YAML file; Roboflow writes ``../train`` for what lies beside the file.

    Of an absolute path of another machine the longest end that exists below the root is taken.
    """
    for path in (root / place, root / place.removeprefix("../")):
        if path.exists():
            return path
    parts = clean_parts(place)
    is_absolute = PurePosixPath(place).is_absolute() or PureWindowsPath(place).is_absolute()
    for start in range(len(parts) if is_absolute else min(1, len(parts))):
        if (path := root.joinpath(*parts[start:])).exists():
            return path
    return None


def _images_of(path: Path, root: Path, notes: Notes) -> list[Path]:
    if path.is_dir():
        return [file for file in files_below(path) if file.suffix.lower() in IMAGE_ENDINGS]
    finder, images = ImageFinder([root]), []
    for line in filter(None, map(str.strip, read_text(path).splitlines())):
        given = Path(line)
        beside = path.parent / line if line.startswith("./") else root / line
        image = next((file for file in (beside, given) if file.is_file()), None) or finder.find(line)
        if image is None:
            notes.leave_out(f"images of {path.name} that do not exist", line)
        else:
            images.append(image)
    return sorted(images)


def _label_file(image: Path) -> Path:
    """The last folder ``images`` of the path becomes ``labels``."""
    parts = list(image.parts)
    for place in range(len(parts) - 2, -1, -1):
        if parts[place] == "images":
            parts[place] = "labels"
            break
    return Path(*parts).with_suffix(".txt")


def _name(path: Path, root: Path) -> str:
    """The name of an image, relative to the root where it lies below it."""
    return relative_name(path, root) or "/".join(clean_parts(os.path.abspath(path))[-3:])


def _read_rows(
    file: Path, size: tuple[int, int], num_classes: int, count: int, values: int, notes: Notes
) -> list[Row]:
    """The persons of a label file; none where it does not exist."""
    if not file.is_file():
        return []
    rows, lines = [], set()
    for place, line in enumerate(read_text(file).splitlines(), start=1):
        if not line.strip():
            continue
        where = f"{file}, line {place}"
        numbers = [
            number(text, f"{where}: column {column}") for column, text in enumerate(line.split(), start=1)
        ]
        if tuple(numbers) in lines:
            notes.leave_out("rows that repeat another one of their file", f"{file}:{place}")
            continue
        lines.add(tuple(numbers))
        rows.append(read_row(numbers, where, size, num_classes, count, values, notes))
    return rows


def read_row(
    numbers: Sequence[float],
    where: str,
    size: tuple[int, int],
    num_classes: int,
    count: int,
    values: int,
    notes: Notes,
) -> Row:
    """The person of a row.

    Args:
        numbers: the row.
        where: names it in messages.
        size: width and height of the image.
        num_classes: of the dataset.
        count, values: kpt_shape.
        notes: gets what is left out.

    Raises:
        ValueError: a number is wrong; the message begins with ``where``.
    """
    columns = 5 + count * values
    if len(numbers) == columns + 1 and numbers[-1].is_integer():
        notes.remark("rows end with a number more, a track, which is left out")
    elif len(numbers) != columns:
        raise ValueError(
            f"{where} must have {columns} numbers (class, box, and {values} values of each of {count} "
            f"keypoints, as kpt_shape says), not {len(numbers)}"
        )
    category = numbers[0]
    if not category.is_integer() or not 0 <= category < num_classes:
        raise ValueError(
            f"{where}: the class must be a whole number from 0 to {num_classes - 1}, not {numbers[0]:g}"
        )
    scale = np.array(size, dtype=float)
    center, extent = np.array(numbers[1:3]) * scale, np.array(numbers[3:5]) * scale
    if min(numbers[1:5]) < -SLACK or max(numbers[1:5]) > 1 + SLACK:
        raise ValueError(
            f"{where}: the box must be given in shares of the image, from 0 to 1, not as {numbers[1:5]}"
        )
    points = np.array(numbers[5:columns]).reshape(count, values)
    low = center - extent / 2
    keypoints = _keypoints(points, scale, where)
    return Row(int(category), (float(low[0]), float(low[1]), float(extent[0]), float(extent[1])), keypoints)


def _keypoints(points: np.ndarray, scale: np.ndarray, where: str) -> np.ndarray:
    """(K, 3) in pixels of shares (K, 2) or (K, 3)."""
    shares = points[:, :2]
    if points.shape[1] == 2:
        visible = np.where((shares == 0).all(axis=1) | (shares < 0).any(axis=1), 0.0, 2.0)
    else:
        visible = points[:, 2].copy()
        visible[visible == -1] = 0
        if not np.isin(visible, (0, 1, 2)).all():
            wrong = visible[~np.isin(visible, (0, 1, 2))][0]
            raise ValueError(
                f"{where}: the third value of a keypoint must be 0, 1 or 2, not {wrong:g}; predictions, "
                "which have confidences there, are no labels"
            )
    labeled = visible > 0
    outside = shares[labeled][(shares[labeled] < -SLACK) | (shares[labeled] > 1 + SLACK)]
    if len(outside):
        raise ValueError(
            f"{where}: labeled keypoints must be given in shares of the image, from 0 to 1, not as "
            f"{outside[0]:g}"
        )
    return np.where(labeled[:, None], np.column_stack([shares * scale, visible]), 0.0)


def _labeled_count(rows: Mapping[str, list[Row]], category: int, count: int) -> int:
    """The number of keypoints up to the last one that is labeled in any row of a class."""
    labeled = np.zeros(count, dtype=bool)
    for found in rows.values():
        for row in found:
            if row.category == category:
                labeled |= row.keypoints[:, 2] > 0
    return int(np.flatnonzero(labeled).max(initial=-1)) + 1 or count


def _skeleton(
    content: Mapping[str, Any],
    category: str,
    index: int,
    count: int,
    kept: int,
    file: Path,
    options: ImportOptions,
    notes: Notes,
) -> SourceSkeleton:
    names = _keypoint_names(content.get("kpt_names"), index, count, file)
    if names is None or options.keypoints is not None:
        names = named_keypoints(options, kept, file, notes)
    names = names[:kept]
    pairs = _flip_pairs(content.get("flip_idx"), count, file, notes)
    sigmas = content.get("kpt_oks_sigmas")
    if sigmas is not None:
        if not isinstance(sigmas, list) or len(sigmas) != count:
            raise ValueError(f"{file}: kpt_oks_sigmas must have {count} numbers, not {short(sigmas)}")
        sigmas = tuple(number(value, f"{file}: kpt_oks_sigmas") for value in sigmas)[:kept]
        if min(sigmas) <= 0:
            raise ValueError(f"{file}: kpt_oks_sigmas must be above 0, not {min(sigmas)}")
    named_pairs = None
    if pairs is not None:
        named_pairs = tuple((names[a], names[b]) for a, b in pairs if max(a, b) < kept)
    return SourceSkeleton(category, names, named_pairs, (), sigmas)


def _keypoint_names(names: Any, index: int, count: int, file: Path) -> tuple[str, ...] | None:
    """The names of a class's keypoints, of the key kpt_names."""
    if isinstance(names, dict):
        names = names.get(index, names.get(str(index)))
    if names is None:
        return None
    if (
        not isinstance(names, list)
        or len(names) < count
        or any(isinstance(name, (dict, list)) for name in names)
    ):
        raise ValueError(f"{file}: kpt_names must have {count} names for class {index}, not {short(names)}")
    return tuple(str(name) for name in names[:count])


def _flip_pairs(flip: Any, count: int, file: Path, notes: Notes) -> tuple[tuple[int, int], ...] | None:
    """The pairs that the key flip_idx swaps: a permutation, or a list of pairs as some write it."""
    if flip is None:
        return None
    wrong = f"{file}: flip_idx must be a permutation of 0 to {count - 1} that swaps pairs, not {short(flip)}"
    if not isinstance(flip, list):
        raise ValueError(wrong)
    if flip and all(isinstance(pair, list) and len(pair) == 2 for pair in flip):
        places = [place for pair in flip for place in pair]
        in_range = all(type(place) is int and 0 <= place < count for place in places)
        if not in_range or len(set(places)) < len(places):
            raise ValueError(wrong)
        notes.remark("flip_idx is a list of pairs, which Ultralytics does not read; it is taken as such")
        return tuple((pair[0], pair[1]) for pair in flip)
    if any(type(place) is not int for place in flip) or sorted(flip) != list(range(count)):
        raise ValueError(wrong)
    if any(flip[flip[place]] != place for place in range(count)):
        raise ValueError(wrong)
    return tuple((place, other) for place, other in enumerate(flip) if place < other)
