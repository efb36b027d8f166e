"""Writes predictions into a folder (:class:`PredictionWriter`): drawings, films and poses.json."""

import json
from pathlib import Path
from types import TracebackType
from typing import Any

import cv2
import numpy as np
from detectron2.structures import Instances

from posecore.inference.video import SourceImage
from posecore.structures.skeleton import Skeleton
from posecore.visualization.images import write_image

# Images per second of a film whose source has no rate.
DEFAULT_RATE = 25.0


class PredictionWriter:
    """Writes a drawing of every image under its name, a film of every video, and poses.json.

    poses.json is a list with a record per image (:func:`pose_record`). It is written at the end of the
    ``with`` block, also after an error: what was predicted before is not lost.

    Args:
        folder: made if it is not there.
        skeleton: names the keypoints.

    Attributes:
        records: the records so far.
    """

    def __init__(self, folder: Path, skeleton: Skeleton) -> None:
        folder.mkdir(parents=True, exist_ok=True)
        self.folder = folder
        self.skeleton = skeleton
        self.records: list[dict[str, Any]] = []
        self._film: cv2.VideoWriter | None = None

    def __enter__(self) -> "PredictionWriter":
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self._end_film()
        (self.folder / "poses.json").write_text(json.dumps(self.records, indent=1))

    def write(self, frame: SourceImage, poses: Instances, drawing: np.ndarray) -> None:
        """Adds an image; those of a video come one after the other, from its first.

        Args:
            frame: the image.
            poses: its persons.
            drawing: (H, W, 3) uint8 RGB.
        """
        self.records.append(pose_record(frame, poses, self.skeleton))
        if frame.number is None:
            self._end_film()
            file = self.folder / frame.name
            file.parent.mkdir(parents=True, exist_ok=True)
            write_image(file, drawing)
            return
        if frame.number == 0 or self._film is None:
            self._end_film()
            self._film = self._start_film(frame, drawing)
        self._film.write(cv2.cvtColor(drawing, cv2.COLOR_RGB2BGR))

    def _start_film(self, frame: SourceImage, drawing: np.ndarray) -> cv2.VideoWriter:
        file = self.folder / f"{Path(frame.name).stem}.mp4"
        height, width = drawing.shape[:2]
        codec = cv2.VideoWriter.fourcc(*"mp4v")
        return cv2.VideoWriter(str(file), codec, frame.rate or DEFAULT_RATE, (width, height))

    def _end_film(self) -> None:
        if self._film is not None:
            self._film.release()
            self._film = None


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
