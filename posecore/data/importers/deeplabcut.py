"""Reads projects of DeepLabCut, of one animal and of several: :func:`read_deeplabcut`.

The labels are the files ``labeled-data/<video>/CollectedData_<scorer>.csv``, or .h5 where there is no .csv,
which DeepLabCut writes with the same content. Nothing in an .h5 file is unpickled. Each labeled keypoint is
visible, v = 2. The order of keypoints is that of config.yaml.
"""

import importlib
import itertools
import math
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from posecore.config.extras import require_package
from posecore.data.formats.document import short
from posecore.data.guarded_reading import read_guarded
from posecore.data.images import IMAGE_ENDINGS
from posecore.data.importers.dataset import ImportedDataset, ImportedImage, ImportedPerson, SourceSkeleton
from posecore.data.importers.files import files_below, read_rows, read_text, read_yaml
from posecore.data.importers.images import ImageFinder, checked_size, clean_parts
from posecore.data.importers.notes import Notes
from posecore.data.importers.options import ImportOptions
from posecore.data.importers.values import number

# Of the keypoints of a project that belong to no animal ("unique body parts").
_UNIQUE = "single"
_LEVELS = ("scorer", "individuals", "bodyparts", "coords")
_CATEGORY = "animal"


@dataclass(frozen=True)
class _Table:
    """A file of labels.

    Attributes:
        columns: (individual, body part, coordinate) of each column of numbers; the individual is "" where the
            project has one animal.
        rows: the parts of the image's path, and the numbers as text.
    """

    columns: list[tuple[str, str, str]]
    rows: list[tuple[list[str], list[str]]]


def is_deeplabcut(source: Path) -> bool:
    """Whether a path is a project, its config.yaml, or a file of labels."""
    if source.is_file() and source.suffix.lower() in (".csv", ".h5"):
        return _is_table(source)
    config = _config_file(source)
    if config is not None:
        return True
    return source.is_dir() and any(_is_table(file) for file in files_below(source))


def read_deeplabcut(source: Path, options: ImportOptions) -> ImportedDataset:
    """Reads a project by its folder or its config.yaml, or a file of labels without a project.

    Raises:
        FileNotFoundError, ValueError: a file is missing or wrong; the message names it and the row.
    """
    notes = Notes()
    config_file = _config_file(source)
    config = read_yaml(config_file) if config_file else {}
    root = config_file.parent if config_file else source if source.is_dir() else source.parent
    files = [source] if source.suffix.lower() in (".csv", ".h5") else _label_files(root, config, notes)
    if not files:
        left_out = "".join(f"; left out: {len(items)} {reason}" for reason, items in notes.left_out.items())
        raise FileNotFoundError(
            f"{root} has no file of labels, labeled-data/<video>/CollectedData_<scorer>.csv or .h5{left_out}"
        )
    tables = [(file, _read_table(file)) for file in files]
    names = options.keypoints or _body_parts(config, config_file or source, tables)
    individuals = _individuals(config, tables)
    images: list[ImportedImage] = []
    for file, table in tables:
        _note_columns(table, names, file, notes)
        images += _images(file, table, names, individuals, root, config_file is not None, options, notes)
    skeleton = SourceSkeleton(options.category or _CATEGORY, tuple(names), None, _limbs(config, names, notes))
    return ImportedDataset("deeplabcut", skeleton, tuple(images), notes)


def _config_file(source: Path) -> Path | None:
    file = source / "config.yaml" if source.is_dir() else source
    if file.suffix not in (".yaml", ".yml") or not file.is_file():
        return None
    try:
        content = read_yaml(file)
    except ValueError:
        return None
    return file if "bodyparts" in content and ("scorer" in content or "video_sets" in content) else None


def _is_table(file: Path) -> bool:
    if file.suffix.lower() == ".h5":
        return file.name.startswith("CollectedData_")
    if file.suffix.lower() != ".csv":
        return False
    with file.open("rb") as opened:
        start = opened.read(4096)
    return start.lstrip(b"\xef\xbb\xbf").startswith(b"scorer,") and b"\nbodyparts," in start


def _label_files(root: Path, config: dict[str, Any], notes: Notes) -> list[Path]:
    """The files of the labels of the project's scorer; CSV before .h5 of the same name."""
    files = []
    for file in files_below(root):
        if not _is_table(file) or (file.suffix.lower() == ".h5" and file.with_suffix(".csv").is_file()):
            continue
        if "DLC_" in file.name or file.name.startswith("machinelabels"):
            notes.leave_out("files of predictions", str(file))
        elif config.get("scorer") and file.stem != f"CollectedData_{config['scorer']}":
            reason = f"files of another scorer than {config['scorer']}, that of config.yaml"
            notes.leave_out(reason, str(file))
        else:
            files.append(file)
    return files


def _read_table(file: Path) -> _Table:
    return _read_hdf5(file) if file.suffix.lower() == ".h5" else _read_csv(file)


def _read_hdf5(file: Path) -> _Table:
    """A table that pandas has written in its "fixed" format, of plain arrays."""
    require_package("h5py", "import", "the import of DeepLabCut's .h5 files")
    importlib.import_module("h5py")  # once, instead of in each process that reads
    return read_guarded(_read_arrays, file)


def _read_arrays(file: Path) -> _Table:
    import h5py

    try:
        with h5py.File(file, "r") as content:
            group = (
                content["df_with_missing"] if "df_with_missing" in content else next(iter(content.values()))
            )
            if "block0_values" not in group or "block1_values" in group:
                raise ValueError(
                    f"{file} is of another format than DeepLabCut's: give the CSV file beside it"
                )
            names, levels = _levels(group, "block0_items")
            header = dict(zip(names, levels, strict=True))
            _, index = _levels(group, "axis1")
            values = group["block0_values"][()].astype(float)
    # h5py raises errors of many kinds at files that are broken.
    except Exception as error:
        if isinstance(error, ValueError) and str(file) in str(error):
            raise
        raise ValueError(f"{file} cannot be read as DeepLabCut's labels: {error}") from error
    if not {"bodyparts", "coords"} <= header.keys():
        raise ValueError(f"{file} must have columns of bodyparts and coords, not {names}")
    individuals = header.get("individuals", [""] * values.shape[1])
    columns = list(zip(individuals, header["bodyparts"], header["coords"], strict=True))
    if values.shape != (len(index[0]), len(columns)) or len(set(columns)) < len(columns):
        raise ValueError(f"{file}: its numbers do not fit its rows and columns")
    rows = [
        (clean_parts("/".join(parts)), ["" if math.isnan(value) else repr(value) for value in row])
        for parts, row in zip(zip(*index, strict=True), values.tolist(), strict=True)
    ]
    return _Table(columns, rows)


def _levels(group: Any, axis: str) -> tuple[list[str], list[list[str]]]:
    """The names of the levels of an index, and the texts of each."""
    if axis in group:
        return [""], [[_text(value) for value in group[axis][()]]]
    names: list[str] = []
    levels: list[list[str]] = []
    while (level := f"{axis}_level{len(levels)}") in group:
        texts = [_text(value) for value in group[level][()]]
        labels = group[f"{axis}_label{len(levels)}"][()]
        names.append(_text(group[level].attrs.get("name", "")))
        levels.append([texts[label] if label >= 0 else "" for label in labels])
    return names, levels


def _text(value: Any) -> str:
    if not isinstance(value, (bytes, str)):
        raise ValueError("its index is no text")
    return value.decode("utf-8") if isinstance(value, bytes) else str(value)


def _read_csv(file: Path) -> _Table:
    lines = [line for line in read_rows(file, read_text(file)) if line]
    header: dict[str, list[str]] = {}
    while lines and lines[0][0].strip() in _LEVELS:
        header[lines[0][0].strip()] = lines[0]
        lines = lines[1:]
    if not {"scorer", "bodyparts", "coords"} <= header.keys():
        raise ValueError(
            f"{file} must begin with rows of scorer, bodyparts and coords, as DeepLabCut writes them"
        )
    # A row's path has one column, or one for each of its folders; their headers are empty.
    scorer = header["scorer"]
    first = next((place for place, text in enumerate(scorer) if place and text.strip()), len(scorer))
    width = len(scorer)
    if any(len(row) != width for row in header.values()):
        raise ValueError(f"{file}: the rows of its header have different numbers of columns")
    individuals = header.get("individuals", [""] * width)
    columns = [
        (individuals[place].strip(), header["bodyparts"][place].strip(), header["coords"][place].strip())
        for place in range(first, width)
    ]
    if len(set(columns)) < len(columns):
        raise ValueError(f"{file}: two columns have the same header")
    rows = []
    for place, line in enumerate(lines, start=len(header) + 1):
        if len(line) != width:
            raise ValueError(f"{file}, row {place}: it has {len(line)} columns, and the header has {width}")
        rows.append((clean_parts("/".join(line[:first])), line[first:]))
    return _Table(columns, rows)


def _body_parts(config: dict[str, Any], where: Path, tables: list[tuple[Path, _Table]]) -> tuple[str, ...]:
    """The keypoints in the order of config.yaml, else of the columns."""
    key = "multianimalbodyparts" if config.get("multianimalproject") else "bodyparts"
    parts = config.get(key)
    if isinstance(parts, list) and parts:
        names = [str(part) for part in parts]
    elif config:
        raise ValueError(f"{where}: {key} must be a list of names, not {short(parts)}")
    else:
        names = [
            part for _, table in tables for individual, part, _ in table.columns if individual != _UNIQUE
        ]
        names = list(dict.fromkeys(names))
    if not names or len(set(names)) < len(names):
        raise ValueError(f"{where}: {key} must be different names, not {short(names)}")
    return tuple(names)


def _individuals(config: dict[str, Any], tables: list[tuple[Path, _Table]]) -> list[str]:
    """The animals in the order of config.yaml, then of the columns; "" for the only one."""
    listed = config.get("individuals") if config.get("multianimalproject") else None
    names = [str(name) for name in listed] if isinstance(listed, list) else []
    found = [individual for _, table in tables for individual, _, _ in table.columns]
    return [name for name in dict.fromkeys([*names, *found]) if name != _UNIQUE]


def _note_columns(table: _Table, names: tuple[str, ...], file: Path, notes: Notes) -> None:
    for individual, part in dict.fromkeys((individual, part) for individual, part, _ in table.columns):
        if individual == _UNIQUE:
            notes.leave_out(
                "body parts that belong to no animal (individual 'single')", f"{file.name}: {part}"
            )
        elif part not in names:
            notes.leave_out("body parts that config.yaml does not list", f"{file.name}: {part}")


def _images(
    file: Path,
    table: _Table,
    names: tuple[str, ...],
    individuals: list[str],
    root: Path,
    is_project: bool,
    options: ImportOptions,
    notes: Notes,
) -> list[ImportedImage]:
    finder = ImageFinder([options.images, file.parent if is_project else root])
    images, seen = [], set()
    for place, (parts, texts) in enumerate(table.rows):
        where = f"{file}: row of {'/'.join(parts)}"
        if not parts:
            raise ValueError(f"{file}: row {place} of the labels has no path of an image")
        if parts[-1] in seen:
            raise ValueError(f"{where} occurs twice")
        seen.add(parts[-1])
        beside = file.parent / parts[-1]
        path = beside if beside.is_file() else finder.find("/".join(parts))
        name = "/".join(["labeled-data", file.parent.name, parts[-1]] if is_project else parts)
        persons = _persons(table.columns, texts, names, individuals, where)
        size = checked_size(name, path, None, notes)
        if size is not None:
            video = file.parent.name if is_project else "/".join(parts[:-1])
            images.append(ImportedImage(name, path, *size, persons, None, video))
    if is_project:
        for other in sorted(file.parent.iterdir()):
            if other.suffix.lower() in IMAGE_ENDINGS and other.name not in seen:
                notes.leave_out("frames without labels", f"{file.parent.name}/{other.name}")
    return images


def _persons(
    columns: list[tuple[str, str, str]],
    texts: list[str],
    names: tuple[str, ...],
    individuals: list[str],
    where: str,
) -> tuple[ImportedPerson, ...]:
    """The animals of a row; an animal of which nothing is labeled is not in the image."""
    values: dict[tuple[str, str, str], float] = {}
    for column, text in zip(columns, texts, strict=True):
        if text.strip() and text.strip().lower() != "nan":
            values[column] = number(text, f"{where}: {column[1]} {column[2]}")
    persons = []
    for individual in individuals:
        keypoints = np.zeros((len(names), 3))
        for index, name in enumerate(names):
            x, y = (values.get((individual, name, axis), math.nan) for axis in ("x", "y"))
            if math.isnan(x) != math.isnan(y):
                raise ValueError(f"{where}: {name} has one coordinate of two")
            if not math.isnan(x):
                keypoints[index] = x, y, 2
        if keypoints.any():
            persons.append(ImportedPerson(keypoints))
    return tuple(persons)


def _limbs(config: dict[str, Any], names: tuple[str, ...], notes: Notes) -> tuple[tuple[str, str], ...]:
    """The pairs of the key skeleton; a list of several names joins each with the next."""
    limbs = []
    given = config.get("skeleton")
    for chain in given if isinstance(given, list) else []:
        ends = [str(name) for name in chain] if isinstance(chain, list) else []
        for a, b in itertools.pairwise(ends):
            if a in names and b in names:
                limbs.append((a, b))
            else:
                notes.leave_out("limbs of keypoints that do not exist", f"{a} - {b}")
    return tuple(limbs)
