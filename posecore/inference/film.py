"""Writes drawn films: :func:`open_film`, with PyAV where it is installed and with OpenCV elsewhere.

Both write MPEG-4 in an .mp4 file. PyAV (https://github.com/PyAV-Org/PyAV, the extra ``video``) gives each
image its time stamp, so that a film keeps the timing of a video whose rate varies. OpenCV knows one rate for
all images. Reading needs no PyAV: OpenCV turns images upright by the rotation that a video states, and gives
the time stamps.
"""

import contextlib
import importlib.util
import logging
from abc import ABC, abstractmethod
from collections.abc import Iterator
from fractions import Fraction
from pathlib import Path

import cv2
import numpy as np

from posecore.inference.video import DEFAULT_RATE

logger = logging.getLogger(__name__)

# Of OpenCV's films: an image that is this much before or behind its time, seconds, is worth a warning.
_LATE = 0.2
# Time stamps of PyAV's films are whole numbers of this many parts of a second.
_TICKS = 60_000
# Of PyAV's films, so that they look like those of OpenCV.
_BITS_PER_PIXEL = 0.35


class Film(ABC):
    """A film that is written image by image.

    Args:
        file: the .mp4 file.
        size: width and height, pixels; images of another size, as a stream may have, are resized.

    Raises:
        ValueError: the file cannot be written; names it.
    """

    def __init__(self, file: Path, size: tuple[int, int]) -> None:
        self.file = file
        self.size = size

    def write(self, image: np.ndarray, time: float) -> None:
        """Appends an image.

        Args:
            image: (H, W, 3) uint8 RGB.
            time: seconds from the first image of the video; greater than that of the image before.

        Raises:
            ValueError: the film cannot be written, as on a full disk.
        """
        if image.shape[1::-1] != self.size:
            image = cv2.resize(image, self.size)
        self._append(np.ascontiguousarray(image), time)

    @abstractmethod
    def close(self) -> None:
        """Ends the film; raises as :meth:`write`."""

    @abstractmethod
    def _append(self, image: np.ndarray, time: float) -> None:
        """Appends an image of the film's size."""

    def _not_written(self) -> ValueError:
        return ValueError(f"the film {self.file} cannot be written: is its folder writable?")


class OpenCVFilm(Film):
    """A film of a constant rate, images per second."""

    def __init__(self, file: Path, size: tuple[int, int], rate: float) -> None:
        super().__init__(file, size)
        self.rate = rate
        self._count = 0
        self._warned = False
        self._writer = cv2.VideoWriter(str(file), cv2.VideoWriter.fourcc(*"mp4v"), rate, size)
        if not self._writer.isOpened():
            self._writer.release()
            raise self._not_written()

    def close(self) -> None:
        self._writer.release()

    def _append(self, image: np.ndarray, time: float) -> None:
        if not self._warned and abs(time - self._count / self.rate) > _LATE:
            self._warned = True
            logger.warning(
                "the film %s has one rate, %.4g images per second, and not the timing of its video, whose "
                "rate varies: `pip install -r requirements/video.txt` keeps it",
                self.file,
                self.rate,
            )
        self._writer.write(cv2.cvtColor(image, cv2.COLOR_RGB2BGR))
        self._count += 1


class PyAVFilm(Film):
    """A film in which each image has its time; ``rate`` is only a statement of images per second."""

    def __init__(self, file: Path, size: tuple[int, int], rate: float) -> None:
        super().__init__(file, size)
        import av

        self._new_frame = av.VideoFrame.from_ndarray
        self._error = av.error.FFmpegError
        with self._named():
            self._container = av.open(str(file), "w")
            self._stream = self._container.add_stream("mpeg4", rate=Fraction(rate).limit_denominator(1001))
            self._stream.width, self._stream.height = size
            self._stream.pix_fmt = "yuv420p"
            self._stream.bit_rate = int(_BITS_PER_PIXEL * size[0] * size[1] * max(rate, 10))
            self._stream.codec_context.time_base = Fraction(1, _TICKS)
            self._container.start_encoding()

    def close(self) -> None:
        with self._named(), contextlib.closing(self._container):
            self._container.mux(self._stream.encode(None))

    def _append(self, image: np.ndarray, time: float) -> None:
        frame = self._new_frame(image, format="rgb24")
        frame.pts, frame.time_base = round(time * _TICKS), Fraction(1, _TICKS)
        with self._named():
            self._container.mux(self._stream.encode(frame))

    @contextlib.contextmanager
    def _named(self) -> Iterator[None]:
        """Errors name the file."""
        try:
            yield
        except (OSError, self._error) as error:
            raise self._not_written() from error


def open_film(file: Path, size: tuple[int, int], rate: float | None) -> Film:
    """A new film.

    Args:
        file: the .mp4 file, which replaces another; its folder exists.
        size: width and height, pixels.
        rate: mean images per second of the video; None where it is unknown.

    Raises:
        ValueError: the file cannot be written; names it.
    """
    kind = PyAVFilm if importlib.util.find_spec("av") else OpenCVFilm
    return kind(file, size, rate or DEFAULT_RATE)
