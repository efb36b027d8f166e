"""Finds a dataset's MATLAB file by its name or by the variable in it: :class:`MatlabFile`."""

from dataclasses import dataclass
from fnmatch import fnmatch
from pathlib import Path

from posecore.data.mat_files import mat_names


@dataclass(frozen=True)
class MatlabFile:
    """The one file that a dataset's annotations are in.

    Attributes:
        name: its usual name, with ``*`` for any characters.
        variable: that is in it, by which a file of another name is known.
    """

    name: str
    variable: str

    def recognizes(self, source: Path) -> bool:
        """Whether a path is such a file, or a folder that has it under its usual name."""
        return self._find(source) is not None

    def find(self, source: Path) -> Path:
        """The file that a path is, or that a folder has.

        Raises:
            FileNotFoundError: there is none.
        """
        if (file := self._find(source)) is None:
            raise FileNotFoundError(f"{source} has no file {self.name}")
        return file

    def _find(self, source: Path) -> Path | None:
        if source.is_dir():
            return next((file for file in sorted(source.glob(self.name)) if file.is_file()), None)
        if source.suffix.lower() != ".mat":
            return None
        if fnmatch(source.name, self.name):
            return source
        return source if self.variable in mat_names(source) else None
