"""Writes predictions into a folder (:class:`PredictionWriter`): drawings, films and poses.json."""

import logging
from collections.abc import Mapping
from pathlib import Path
from types import MappingProxyType

import numpy as np
from detectron2.structures import Instances

from posecore.config.merge import UsageError
from posecore.data.image_writer import write_image
from posecore.inference.film import Film, open_film
from posecore.inference.interchange import Export
from posecore.inference.plan import BROKEN_OFF, POSES, UNFINISHED, drawing_name
from posecore.inference.records import RecordFile, pose_record, recover_records
from posecore.inference.video import DEFAULT_RATE, SourceImage
from posecore.structures.skeleton import Skeleton

logger = logging.getLogger(__name__)


class PredictionWriter:
    """Writes a drawing of every image under its name, a film of every video, and poses.json.

    poses.json is a list with a record per image (:func:`~posecore.inference.records.pose_record`). Each
    record is in a file beside its place as soon as the image is written; at the end of the ``with`` block the
    file is renamed. After an error, what was predicted before is not lost: it is in poses.json, or in
    poses.partial.json where an earlier run has left a poses.json. Where the process was killed, the next
    writer in this folder makes poses.partial.json of the unfinished file (:func:`recover`). Where nothing was
    predicted because of errors, no file is written.

    Args:
        folder: made if it is not there.
        skeleton: names the keypoints.
        drawings: the drawing's path in the folder by the name of an image or video; others have that of
            :func:`posecore.inference.plan.drawing_name`.
        export: writes the records in another format too; None for poses.json alone.

    Attributes:
        num_images: that were written.
        num_people: in these images.
        failed: set where an image could not be predicted.

    Raises:
        UsageError: the folder cannot be written to.
    """

    def __init__(
        self,
        folder: Path,
        skeleton: Skeleton,
        drawings: Mapping[str, str] = MappingProxyType({}),
        export: Export | None = None,
    ) -> None:
        self.folder = folder
        self.skeleton = skeleton
        self.drawings = drawings
        self.export = export
        self.num_people = 0
        self.failed = False
        self._film: Film | None = None
        self._film_name: str | None = None
        try:
            folder.mkdir(parents=True, exist_ok=True)
            recover(folder)
            self._records = RecordFile(folder / UNFINISHED)
        except OSError as error:
            raise UsageError(f"the folder {folder} cannot be written to: {error.strerror}") from error

    @property
    def num_images(self) -> int:
        return self._records.count

    def __enter__(self) -> "PredictionWriter":
        return self

    def __exit__(self, kind: type[BaseException] | None, *error: object) -> None:
        try:
            self._end_film()
        except ValueError as reason:  # poses matter more
            self.failed = True
            logger.warning(reason)
        if self.export is not None:
            self.export.close(complete=kind is None)
        poses = self.folder / POSES
        if not self.num_images and (self.failed or kind is not None):
            self._records.discard()
            return
        target = self.folder / BROKEN_OFF if kind is not None and poses.exists() else poses
        self._records.finish(target)
        if target != poses:
            logger.warning("what was predicted before the end is in %s; %s is that of before", target, poses)

    def write(self, frame: SourceImage, poses: Instances, drawing: np.ndarray | None) -> None:
        """Adds an image; those of a video come one after the other, from its first.

        Args:
            frame: the image.
            poses: its persons.
            drawing: (H, W, 3) uint8 RGB; None for no drawing.

        Raises:
            UsageError: the record cannot be written.
            FileNotFoundError, ValueError: the drawing cannot be written; the record is kept. For a film this
                is raised once.
        """
        record = pose_record(frame, poses, self.skeleton)
        self._records.write(record)
        self.num_people += len(poses)
        if self.export is not None:
            self.export.write(record)
        if frame.number is None:
            self._end_film()
        elif frame.name != self._film_name:
            self._end_film()
            self._film_name = frame.name
            self._film = None if drawing is None else self._start_film(frame, drawing)
        if drawing is None:
            return
        if frame.number is None:
            file = self._target(frame)
            file.parent.mkdir(parents=True, exist_ok=True)
            write_image(file, drawing)
        elif self._film is not None:
            period = 1 / (frame.rate or DEFAULT_RATE)
            try:
                self._film.write(drawing, frame.number * period if frame.time is None else frame.time)
            except ValueError:
                self._film = None
                raise

    def _target(self, frame: SourceImage) -> Path:
        name = self.drawings.get(frame.name) or drawing_name(frame.name, frame.number is not None)
        return self.folder / name

    def _start_film(self, frame: SourceImage, drawing: np.ndarray) -> Film:
        file = self._target(frame)
        file.parent.mkdir(parents=True, exist_ok=True)
        height, width = drawing.shape[:2]
        return open_film(file, (width, height), frame.rate)

    def _end_film(self) -> None:
        film, self._film, self._film_name = self._film, None, None
        if film is not None:
            film.close()


def recover(folder: Path) -> Path | None:
    """Makes poses.partial.json of what a killed prediction left in its output folder.

    Returns:
        The file; None where there is nothing to recover.

    Raises:
        OSError: a file cannot be read.
        UsageError: the file cannot be written.
    """
    unfinished, target = folder / UNFINISHED, folder / BROKEN_OFF
    if not unfinished.is_file():
        return None
    count = recover_records(unfinished, target)
    if not count:
        return None
    logger.warning("an earlier prediction was killed: the poses of %d images are in %s", count, target)
    return target
