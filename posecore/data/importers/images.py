"""Finds the images and videos that labels name, and reads their sizes and frames: :class:`ImageFinder`."""

import functools
import os
from collections import defaultdict
from collections.abc import Iterable, Iterator
from pathlib import Path, PurePosixPath

import cv2
import numpy as np

from posecore.data.images import IMAGE_ENDINGS, image_size
from posecore.data.importers.dataset import EmbeddedImage, ImageSource, VideoFrame
from posecore.data.importers.files import files_below
from posecore.data.importers.notes import Notes

VIDEO_ENDINGS = frozenset({".mp4", ".avi", ".mov", ".mkv", ".m4v", ".mpg", ".mpeg", ".webm", ".wmv"})


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
