"""Finds the images and videos that labels name, and checks their sizes: :class:`ImageFinder`."""

import os
from collections import defaultdict
from collections.abc import Iterable
from pathlib import Path, PurePosixPath

from posecore.data.images import IMAGE_ENDINGS
from posecore.data.importers.files import files_below
from posecore.data.importers.image_sources import ImageSource, source_size
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
        size = source_size(source)
    except (OSError, ValueError) as error:
        notes.leave_out("images that cannot be read", f"{name} ({error})")
        return None
    if stated is not None and size != stated:
        reason = "images of another size than the labels state (upright, after the orientation of EXIF)"
        notes.leave_out(reason, f"{name}: {size[0]} x {size[1]}, labels {stated[0]} x {stated[1]}")
        return None
    return size


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
