"""Draws and writes predicted images beside the prediction (:class:`DrawingOutput`)."""

from collections import deque
from collections.abc import Callable
from concurrent.futures import Future, ThreadPoolExecutor

import cv2
import numpy as np
from detectron2.structures import Instances

from posecore.config.merge import UsageError
from posecore.inference.prediction_writer import PredictionWriter
from posecore.inference.video import SourceImage
from posecore.structures.skeleton import Skeleton
from posecore.visualization.poses import draw_poses

# Images whose drawings wait to be written, at most.
_WAITING = 4


class DrawingOutput:
    """Draws and writes images in a thread, in their order; where a window shows them too, without a thread.

    Args:
        writer: of the files.
        skeleton: of the poses.
        fail: reports an error.
        keypoint_threshold: keypoints with a confidence not above this are not drawn.
        show: whether a window shows the drawings too.
        threaded: whether there is a thread; a window has none.

    Attributes:
        stopped: whether q was pressed in the window.
    """

    def __init__(
        self,
        writer: PredictionWriter,
        skeleton: Skeleton,
        fail: Callable[[str], None],
        *,
        keypoint_threshold: float,
        show: bool,
        threaded: bool,
    ) -> None:
        self.writer = writer
        self.skeleton = skeleton
        self.fail = fail
        self.keypoint_threshold = keypoint_threshold
        self.show = show
        self.stopped = False
        self._thread = ThreadPoolExecutor(1) if threaded and not show else None
        self._waiting: deque[Future] = deque()

    def __enter__(self) -> "DrawingOutput":
        return self

    def __exit__(self, *error: object) -> None:
        # The few images that wait are written also after an error: they were predicted.
        if self._thread is not None:
            self._thread.shutdown()

    def put(self, frame: SourceImage, poses: Instances) -> None:
        """Takes an image and its poses.

        Raises:
            UsageError: an image before it could not be written, or this OpenCV has no windows.
        """
        if self._thread is None:
            drawing = self._write(frame, poses)
            self.stopped = self.show and drawing is not None and _stopped_in_window(drawing)
            return
        self._waiting.append(self._thread.submit(self._write, frame, poses))
        while len(self._waiting) > _WAITING:
            self._waiting.popleft().result()

    def finish(self) -> None:
        """Waits until everything is written; raises as :meth:`put`."""
        while self._waiting:
            self._waiting.popleft().result()

    def _write(self, frame: SourceImage, poses: Instances) -> np.ndarray | None:
        """The drawing, which was written; None after an error, which is reported."""
        drawing = self._draw(frame, poses)
        try:
            self.writer.write(frame, poses, drawing)
        except UsageError:
            raise
        except (OSError, ValueError) as error:
            self.fail(str(error))
        return drawing

    def _draw(self, frame: SourceImage, poses: Instances) -> np.ndarray | None:
        """The drawing of an image; None after an error, which is reported, because poses matter more."""
        try:
            return draw_poses(frame.image, poses, self.skeleton, threshold=self.keypoint_threshold)
        except Exception as error:
            self.fail(f"image {frame.label} cannot be drawn: {error}")
            return None


def _stopped_in_window(drawing: np.ndarray) -> bool:
    """Shows a drawing; whether q was pressed.

    Raises:
        UsageError: this OpenCV has no windows.
    """
    try:
        cv2.imshow("posecore", cv2.cvtColor(drawing, cv2.COLOR_RGB2BGR))
        return cv2.waitKey(1) == ord("q")
    except cv2.error as error:
        raise UsageError(
            "--show needs a screen, and opencv-python instead of opencv-python-headless"
        ) from error
