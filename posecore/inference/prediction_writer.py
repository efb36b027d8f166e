"""Writes predictions into a folder (:class:`PredictionWriter`): drawings, films and poses.json."""

import json
import logging
import os
from collections.abc import Iterable, Mapping
from pathlib import Path
from types import MappingProxyType, TracebackType
from typing import Any

import cv2
import numpy as np
from detectron2.structures import Instances

from posecore.config.merge import UsageError
from posecore.inference.plan import BROKEN_OFF, POSES, UNFINISHED, drawing_name
from posecore.inference.video import SourceImage
from posecore.structures.skeleton import Skeleton
from posecore.visualization.images import write_image

logger = logging.getLogger(__name__)

# Images per second of a film whose source has no rate.
DEFAULT_RATE = 25.0


class PredictionWriter:
    """Writes a drawing of every image under its name, a film of every video, and poses.json.

    poses.json is a list with a record per image (:func:`pose_record`). It is written at the end of the
    ``with`` block, beside its place, and then renamed. After an error, what was predicted before is not lost:
    it is in poses.json, or in poses.partial.json where an earlier run has left a poses.json. Where nothing
    was predicted because of errors, no file is written.

    Args:
        folder: made if it is not there.
        skeleton: names the keypoints.
        drawings: the drawing's path in the folder by the name of an image or video; others have that of
            :func:`posecore.inference.plan.drawing_name`.

    Attributes:
        records: the records so far.
        failed: set where an image could not be predicted.

    Raises:
        UsageError: the folder cannot be written to.
    """

    def __init__(
        self, folder: Path, skeleton: Skeleton, drawings: Mapping[str, str] = MappingProxyType({})
    ) -> None:
        self.folder = folder
        self.skeleton = skeleton
        self.drawings = drawings
        self.records: list[dict[str, Any]] = []
        self.failed = False
        self._film: cv2.VideoWriter | None = None
        self._film_name: str | None = None
        self._film_size = (0, 0)
        try:
            folder.mkdir(parents=True, exist_ok=True)
            # A run that is killed leaves it, so that the next one knows its drawings.
            _write_json(folder / UNFINISHED, ({"name": name} for name in drawings))
        except OSError as error:
            raise UsageError(f"the folder {folder} cannot be written to: {error.strerror}") from error

    def __enter__(self) -> "PredictionWriter":
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self._end_film()
        unfinished, poses = self.folder / UNFINISHED, self.folder / POSES
        if not self.records and (self.failed or kind is not None):
            unfinished.unlink(missing_ok=True)
            return
        target = self.folder / BROKEN_OFF if kind is not None and poses.exists() else poses
        try:
            _write_json(unfinished, self.records)
            os.replace(unfinished, target)
        except OSError as reason:
            raise UsageError(f"{target} cannot be written: {reason.strerror}") from reason
        if target != poses:
            logger.warning("what was predicted before the end is in %s; %s is that of before", target, poses)

    def write(self, frame: SourceImage, poses: Instances, drawing: np.ndarray | None) -> None:
        """Adds an image; those of a video come one after the other, from its first.

        Args:
            frame: the image.
            poses: its persons.
            drawing: (H, W, 3) uint8 RGB; None for no drawing.

        Raises:
            FileNotFoundError, ValueError: the drawing cannot be written; the record is kept. For a film this
                is raised once.
        """
        self.records.append(pose_record(frame, poses, self.skeleton))
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
            # OpenCV drops images of another size, as a stream may have, without a word.
            if drawing.shape[1::-1] != self._film_size:
                drawing = cv2.resize(drawing, self._film_size)
            self._film.write(cv2.cvtColor(drawing, cv2.COLOR_RGB2BGR))

    def _target(self, frame: SourceImage) -> Path:
        name = self.drawings.get(frame.name) or drawing_name(frame.name, frame.number is not None)
        return self.folder / name

    def _start_film(self, frame: SourceImage, drawing: np.ndarray) -> cv2.VideoWriter:
        file = self._target(frame)
        file.parent.mkdir(parents=True, exist_ok=True)
        height, width = drawing.shape[:2]
        self._film_size = width, height
        codec = cv2.VideoWriter.fourcc(*"mp4v")
        film = cv2.VideoWriter(str(file), codec, frame.rate or DEFAULT_RATE, self._film_size)
        if not film.isOpened():
            film.release()
            raise ValueError(f"the film {file} cannot be written: is its folder writable?")
        return film

    def _end_film(self) -> None:
        if self._film is not None:
            self._film.release()
        self._film = self._film_name = None


def pose_record(frame: SourceImage, poses: Instances, skeleton: Skeleton) -> dict[str, Any]:
    """The record of an image in poses.json.

    Returns:
        The image's name, its number in the video (None outside a video) and its people: per person the
        score, the box (x0, y0, x1, y1) and the keypoints (x, y, confidence) by name, in continuous pixels.
    """
    people = []
    for score, box, keypoints in zip(
        poses.scores.tolist(), poses.pred_boxes.tensor.tolist(), poses.pred_keypoints.tolist(), strict=True
    ):
        named = dict(zip(skeleton.keypoints, keypoints, strict=True))
        people.append({"score": score, "box": box, "keypoints": named})
    return {"name": frame.name, "number": frame.number, "people": people}


def _write_json(file: Path, records: Iterable[dict[str, Any]]) -> None:
    file.write_text(json.dumps(list(records), indent=1))
