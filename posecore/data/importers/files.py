"""Reads the files of other tools, which anybody may have made, and finds images: :class:`ImageFinder`.

Nothing in a file is executed: YAML has plain values only, XML no entities, and archives are unpacked only
into the folder that is meant.
"""

import csv
import functools
import io
import itertools
import lzma
import os
import shutil
import stat
import zipfile
import zlib
from collections import defaultdict
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import Any
from xml.etree.ElementTree import Element, ParseError

import cv2
import numpy as np

from posecore.config.extras import require_package
from posecore.config.yaml_text import load_yaml
from posecore.data.formats.document import MAX_COORDINATE, load_json, short
from posecore.data.images import IMAGE_ENDINGS, image_size
from posecore.data.importers.dataset import (
    NUM_EXAMPLES,
    Box,
    EmbeddedImage,
    ImageSource,
    ImportOptions,
    Notes,
    VideoFrame,
)

VIDEO_ENDINGS = frozenset({".mp4", ".avi", ".mov", ".mkv", ".m4v", ".mpg", ".mpeg", ".webm", ".wmv"})
# An archive that claims more than this many times its own size is refused; images are hardly compressed.
MAX_RATIO = 200
MAX_MEMBERS = 1_000_000


def read_text(file: Path) -> str:
    """The text of a file in UTF-8, with or without a byte-order mark.

    Raises:
        FileNotFoundError, ValueError: there is no such file, or it is no text; the message names it.
    """
    if not file.is_file():
        raise FileNotFoundError(f"{file} {'is no file' if file.exists() else 'does not exist'}")
    try:
        return file.read_text(encoding="utf-8-sig")
    except UnicodeDecodeError as error:
        raise ValueError(f"{file} is no text in UTF-8: {error}") from error


def read_rows(file: Path, text: str) -> Iterator[list[str]]:
    """The rows of a CSV file, of which the text is given.

    Raises:
        ValueError: it is no CSV; the message names the file.
    """
    try:
        yield from csv.reader(io.StringIO(text))
    except csv.Error as error:
        raise ValueError(f"{file} is not valid CSV (is a quotation mark missing?): {error}") from error


def read_yaml(file: Path) -> dict[str, Any]:
    """The mapping of a YAML file.

    Raises:
        FileNotFoundError, ValueError: the message names the file.
    """
    try:
        content = load_yaml(read_text(file))
    except ValueError as error:
        raise ValueError(f"{file}: {error}") from error
    if not isinstance(content, dict):
        raise ValueError(f"{file} must be YAML of keys and values, not {short(content)}")
    return content


def read_json(file: Path) -> Any:
    """The value of a JSON file.

    Raises:
        FileNotFoundError, ValueError: the message names the file.
    """
    return load_json(file, "file")


def check_readable(source: Path) -> None:
    """Checks that a file, or the files right in a folder, are the JSON, YAML and XML that they should be.

    A broken file is of no format, and its error says more than that.

    Raises:
        ValueError: one is not; the message names it.
    """
    readers = {".json": read_json, ".yaml": read_yaml, ".yml": read_yaml, ".xml": read_xml}
    for file in sorted(source.iterdir()) if source.is_dir() else [source]:
        if file.is_file() and (reader := readers.get(file.suffix.lower())):
            reader(file)


@dataclass(frozen=True)
class JsonShape:
    """What is at the top of a JSON document, by which formats are recognized.

    Attributes:
        kind: "object", "list" or "other".
        keys: of an object.
        lists: the keys of an object whose values are lists.
        inner: the keys that all of the first entries have, where they are objects: the values of an object,
            the elements of a list.
    """

    kind: str
    keys: frozenset[str] = frozenset()
    lists: frozenset[str] = frozenset()
    inner: frozenset[str] = frozenset()


def json_files(source: Path, fits: Callable[[JsonShape], bool]) -> list[Path]:
    """The JSON files of a folder, or the file itself, that have a shape; broken files have none."""
    files = [source] if source.is_file() else files_below(source)
    return [file for file in files if file.suffix.lower() == ".json" and fits(json_shape(file))]


def json_shape(file: Path) -> JsonShape:
    """The shape of a JSON file; a file is read once for all formats that are tried."""
    return _json_shape(file, file.stat().st_mtime_ns)


@functools.cache
def _json_shape(file: Path, changed: int) -> JsonShape:
    try:
        content = read_json(file)
    except (OSError, ValueError):
        return JsonShape("other")
    if isinstance(content, dict):
        first = list(itertools.islice(content.values(), 5))
        lists = frozenset(key for key, value in content.items() if isinstance(value, list))
        return JsonShape("object", frozenset(content), lists, _common_keys(first))
    if isinstance(content, list):
        return JsonShape("list", inner=_common_keys(content[:5]))
    return JsonShape("other")


def _common_keys(entries: list[Any]) -> frozenset[str]:
    if not entries or not all(isinstance(entry, dict) for entry in entries):
        return frozenset()
    return frozenset.intersection(*(frozenset(entry) for entry in entries))


def read_xml(file: Path) -> Element:
    """The root of an XML file; one that declares entities is refused.

    Raises:
        FileNotFoundError, ValueError: the message names the file.
    """
    return parse_xml(read_text(file), str(file))


def parse_xml(text: str, where: str) -> Element:
    """The root of an XML document; ``where`` names it in messages.

    Raises:
        ValueError: it is no XML, or declares entities.
    """
    require_package("defusedxml", "import", "the import of XML files")
    from defusedxml import DefusedXmlException
    from defusedxml.ElementTree import fromstring

    try:
        # Text of which the encoding is declared must be given as bytes.
        return fromstring(text.encode())
    except DefusedXmlException as error:
        raise ValueError(f"{where} declares entities, which are not read: {error}") from error
    # The last two: of an encoding that is unknown, or not read.
    except (ParseError, LookupError, ValueError) as error:
        raise ValueError(f"{where} is not valid XML (is it truncated?): {error}") from error


def number(value: Any, where: str) -> float:
    """A finite number of moderate size, given as a number or as text.

    Raises:
        ValueError: it is none; the message begins with ``where``.
    """
    try:
        if isinstance(value, bool):
            raise ValueError
        result = float(value)
    except (TypeError, ValueError, OverflowError):
        raise ValueError(f"{where} must be a number, not {short(value)}") from None
    if not abs(result) <= MAX_COORDINATE:
        raise ValueError(f"{where} must be a finite number up to {MAX_COORDINATE}, not {short(value)}")
    return result


def whole(value: Any, where: str) -> int:
    """A whole number of moderate size, given as a number or as text.

    Raises:
        ValueError: it is none; the message begins with ``where``.
    """
    result = number(value, where)
    if not result.is_integer():
        raise ValueError(f"{where} must be a whole number, not {short(value)}")
    return int(result)


def pixels(value: Any, where: str) -> int:
    """The width or the height of an image.

    Raises:
        ValueError: it is no positive whole number; the message begins with ``where``.
    """
    result = number(value, where)
    if result < 1 or result != int(result):
        raise ValueError(f"{where} must be a positive whole number of pixels, not {short(value)}")
    return int(result)


def box_of_corners(x0: float, y0: float, x1: float, y1: float) -> Box:
    """x, y, width and height of the rectangle between two opposite corners."""
    return min(x0, x1), min(y0, y1), abs(x1 - x0), abs(y1 - y0)


def choose_category(names: Iterable[str], wanted: str | None, where: Path) -> str:
    """The category that is imported: the wanted one, or the only one.

    Args:
        names: of the categories that have keypoints.
        wanted: that of --category.
        where: the file, for messages.

    Raises:
        ValueError: there is none, or no such one, or several and none is wanted.
    """
    names = list(dict.fromkeys(names))
    if not names:
        raise ValueError(f"{where} has no category with keypoints")
    if wanted is not None:
        if wanted not in names:
            raise ValueError(f"--category must be one of {names} ({where}), not {wanted!r}")
        return wanted
    if len(names) > 1:
        raise ValueError(
            f"{where} has several categories with keypoints, {names}, and a dataset has one: choose it with "
            "--category"
        )
    return names[0]


def named_keypoints(options: ImportOptions, count: int, where: Path, notes: Notes) -> tuple[str, ...]:
    """The names of keypoints where a format has none: those of --keypoints, else kp0, kp1 and so on.

    Raises:
        ValueError: --keypoints has another number of names.
    """
    if options.keypoints is None:
        notes.remark(
            f"{where.name} does not name its keypoints: they are called kp0 to kp{count - 1}; --keypoints "
            "FILE gives names, one per line"
        )
        return tuple(f"kp{index}" for index in range(count))
    if len(options.keypoints) != count:
        raise ValueError(
            f"--keypoints has {len(options.keypoints)} names, but {where} has {count} keypoints per person"
        )
    return options.keypoints


def only_file(files: list[Path], source: Path, what: str) -> Path:
    """The only file of a kind in a source.

    Raises:
        ValueError: there is none, or there are several; ``what`` completes "must have one ...".
    """
    if len(files) != 1:
        found = ", ".join(map(str, files[:NUM_EXAMPLES])) or "none"
        raise ValueError(f"{source} must have one {what}, not {len(files)} ({found}): name one of them")
    return files[0]


def remark_order(names: Iterable[str], reason: str, notes: Notes) -> None:
    """Notes that keypoints are in the order in which they first occur, because the source has none."""
    notes.remark(
        f"{reason}: the keypoints are in the order in which they first occur, {list(names)}; --keypoints "
        "FILE gives another, one name per line"
    )


def roboflow_original(name: str) -> str | None:
    """What the augmented copies of an image have in common; Roboflow names them <original>.rf.<hash>."""
    stem, mark, _ = name.rpartition(".rf.")
    return Path(stem).name if mark else None


def clean_parts(name: str) -> list[str]:
    """The parts of a path as any system writes it, without drive, leading slash, ``.`` and ``..``."""
    parts = [part for part in name.replace("\\", "/").split("/") if part not in ("", ".", "..")]
    return parts[1:] if parts and parts[0].endswith(":") else parts


def relative_name(file: Path, folder: Path) -> str | None:
    """The path of a file below a folder, links not followed; None where it lies elsewhere."""
    path, root = Path(os.path.abspath(file)), Path(os.path.abspath(folder))
    return path.relative_to(root).as_posix() if path.is_relative_to(root) else None


class ImageFinder:
    """Finds the files of images and videos below folders, by names that may come from another machine.

    Args:
        folders: in the order in which they are tried.
    """

    def __init__(self, folders: Iterable[Path | None]) -> None:
        self.folders = [folder for folder in folders if folder is not None]
        self._index: dict[str, list[Path]] | None = None

    def find(self, name: str) -> Path | None:
        """The file of a name; None if there is none, or several that fit equally well.

        A file at the named place below a folder comes first; else the file of the same last part whose
        folders agree with the name the longest.
        """
        parts = clean_parts(name)
        if not parts:
            return None
        for folder in self.folders:
            direct = folder / name
            if ".." not in PurePosixPath(name).parts and direct.is_file():
                return direct
            if (file := folder.joinpath(*parts)).is_file():
                return file
        return self._best(parts, self._files().get(parts[-1].lower(), []))

    def find_stem(self, name: str) -> Path | None:
        """The image of a name that lacks its ending, such as ``frame_000005``."""
        parts = clean_parts(name)
        found = [
            file
            for ending in sorted(IMAGE_ENDINGS)
            for file in self._files().get(f"{parts[-1].lower()}{ending}", [])
        ]
        return self._best(parts, found)

    @staticmethod
    def _best(parts: list[str], files: list[Path]) -> Path | None:
        """The file whose folders agree with the parts the longest; None where that is not one file."""

        def agreement(file: Path) -> int:
            count = 0
            for theirs, own in zip(reversed(file.parts[:-1]), reversed(parts[:-1]), strict=False):
                if theirs.lower() != own.lower():
                    break
                count += 1
            return count

        ranked = sorted(files, key=agreement, reverse=True)
        if not ranked or (len(ranked) > 1 and agreement(ranked[0]) == agreement(ranked[1])):
            return None
        return ranked[0]

    def _files(self) -> dict[str, list[Path]]:
        """Images and videos below the folders, by their names in lower case."""
        if self._index is None:
            self._index = defaultdict(list)
            for file in sorted({file for folder in self.folders for file in files_below(folder)}):
                if file.suffix.lower() in IMAGE_ENDINGS | VIDEO_ENDINGS:
                    self._index[file.name.lower()].append(file)
        return self._index


def files_below(folder: Path) -> Iterator[Path]:
    """All regular files below a folder, sorted; folders that begin with a dot are left out.

    A pipe among them would block whatever opens it.
    """
    for root, folders, files in os.walk(folder):
        folders[:] = sorted(name for name in folders if not name.startswith("."))
        yield from (file for name in sorted(files) if (file := Path(root, name)).is_file())


def checked_size(
    name: str, source: ImageSource, stated: tuple[int, int] | None, notes: Notes
) -> tuple[int, int] | None:
    """Width and height of an image, from its file, else as the labels state them; None to leave it out.

    An image whose file cannot be read or has another size, and one of which neither file nor size is known,
    is left out, and noted.
    """
    if source is None:
        if stated is None:
            notes.leave_out("images whose file was not found, and whose size the labels do not state", name)
        else:
            notes.missing.append(name)
        return stated
    try:
        size = _size(source)
    except (OSError, ValueError) as error:
        notes.leave_out("images that cannot be read", f"{name} ({error})")
        return None
    if stated is not None and size != stated:
        reason = "images of another size than the labels state (upright, after the orientation of EXIF)"
        notes.leave_out(reason, f"{name}: {size[0]} x {size[1]}, labels {stated[0]} x {stated[1]}")
        return None
    return size


def _size(source: Path | VideoFrame | EmbeddedImage) -> tuple[int, int]:
    if isinstance(source, Path):
        return image_size(source)
    if isinstance(source, EmbeddedImage):
        image = decode_embedded(source)
        return image.shape[1], image.shape[0]
    width, height, count = _video_size(source.video)
    if source.index >= count:
        raise ValueError(f"video {source.video} has {count} frames, and none of the number {source.index}")
    return width, height


def decode_embedded(source: EmbeddedImage) -> np.ndarray:
    """The pixels of an embedded image, (H, W, 3) uint8 RGB.

    Raises:
        ValueError: OpenCV cannot decode it.
    """
    image = cv2.imdecode(np.frombuffer(source.content, np.uint8), cv2.IMREAD_COLOR)
    if image is None:
        raise ValueError("the embedded image is none that OpenCV can read")
    return np.ascontiguousarray(image[:, :, ::-1])


@functools.cache
def _video_size(video: Path) -> tuple[int, int, int]:
    """Width, height and number of frames of a video, as its header says.

    Raises:
        ValueError: it cannot be read.
    """
    capture = cv2.VideoCapture(str(video))
    try:
        keys = (cv2.CAP_PROP_FRAME_WIDTH, cv2.CAP_PROP_FRAME_HEIGHT, cv2.CAP_PROP_FRAME_COUNT)
        width, height, count = (int(capture.get(key)) for key in keys)
        if not capture.isOpened() or min(width, height) < 1:
            raise ValueError(f"video {video} cannot be read")
        return width, height, count
    finally:
        capture.release()


def read_frames(video: Path, indices: Iterable[int]) -> Iterator[tuple[int, np.ndarray]]:
    """Frames of a video with their numbers, in order: (H, W, 3) uint8 RGB.

    The video is decoded once from its beginning, because not every video can be searched exactly.

    Raises:
        ValueError: a frame does not exist; the message names the video.
    """
    capture = cv2.VideoCapture(str(video))
    try:
        place = -1
        for index in sorted(set(indices)):
            good = capture.isOpened()
            while good and place < index:
                good = capture.grab()
                place += 1
            image = None
            if good:
                good, image = capture.retrieve()
            if not good or image is None:
                raise ValueError(f"video {video} has no frame {index} that can be read (frames count from 0)")
            yield index, np.ascontiguousarray(image[:, :, ::-1])
    finally:
        capture.release()


def unpack(archive: Path, folder: Path) -> Path:
    """Unpacks a zip archive into an empty folder, and returns the folder of its content.

    Raises:
        ValueError: it is no zip archive, is damaged, would write outside the folder, or claims to be far
            larger than images can be compressed.
    """
    try:
        with zipfile.ZipFile(archive) as content:
            members = content.infolist()
            if len({member.filename for member in members}) < len(members):
                raise ValueError(f"{archive} has several files of one name, of which one would be left")
            total = sum(member.file_size for member in members)
            if len(members) > MAX_MEMBERS or total > MAX_RATIO * archive.stat().st_size + 2**20:
                raise ValueError(
                    f"{archive} would become {len(members):,} files of {total:,} bytes, far more than images "
                    "can be compressed: unpack it yourself if that is right"
                )
            if total > shutil.disk_usage(folder).free:
                raise ValueError(f"{archive} needs {total:,} bytes, more than the disk of {folder} has")
            for member in members:
                parts = PurePosixPath(member.filename.replace("\\", "/")).parts
                kind = stat.S_IFMT(member.external_attr >> 16)
                if ".." in parts or (parts and (parts[0] == "/" or parts[0].endswith(":"))):
                    raise ValueError(f"{archive}: its entry {member.filename!r} would be written elsewhere")
                if kind not in (0, stat.S_IFREG, stat.S_IFDIR):
                    raise ValueError(f"{archive}: its entry {member.filename!r} is no file and no folder")
                content.extract(member, folder)
    except (
        zipfile.BadZipFile,
        NotImplementedError,
        RuntimeError,
        EOFError,
        zlib.error,
        lzma.LZMAError,
    ) as error:
        raise ValueError(f"{archive} is no zip archive that can be read: {error}") from error
    inner = [path for path in folder.iterdir() if path.name != "__MACOSX"]
    return inner[0] if len(inner) == 1 and inner[0].is_dir() else folder
