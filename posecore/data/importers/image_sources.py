"""Where the pixels of an image are, in a file, in a video or in another file, and how they are read.

A source is a path, a :class:`VideoFrame` or an :class:`EmbeddedImage`.
"""

import functools
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path

import cv2
import numpy as np

from posecore.data.images import image_size


@dataclass(frozen=True)
class VideoFrame:
    """A frame of a video file, which becomes a PNG file.

    Attributes:
        video: the file.
        index: of the frame, from 0.
    """

    video: Path
    index: int


@dataclass(frozen=True)
class EmbeddedImage:
    """An encoded image (PNG, JPEG) that lies within another file, which becomes a file of its own.

    Attributes:
        content: the encoded image.
    """

    content: bytes


# Where the pixels of an image are; None where they were not found.
ImageSource = Path | VideoFrame | EmbeddedImage | None


def source_size(source: Path | VideoFrame | EmbeddedImage) -> tuple[int, int]:
    """Width and height of an image, upright, of its file, its video or its encoded bytes.

    Raises:
        OSError, ValueError: it cannot be read, or the video has no such frame.
    """
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
