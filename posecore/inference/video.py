"""Reads images from files, folders, videos, cameras and streams: :class:`Source`, :func:`read_images`."""

import re
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import cv2
import numpy as np

from posecore.config.errors import some
from posecore.data.images import IMAGE_ENDINGS, MAX_PIXELS, read_image

IMAGES = IMAGE_ENDINGS
VIDEOS = {".mp4", ".avi", ".mov", ".mkv", ".webm", ".m4v"}
# Addresses of streams.
_STREAM = re.compile(r"(rtsps?|rtmp|https?)://", re.IGNORECASE)
# The login of an address, which is not for names and messages.
_LOGIN = re.compile(r"(?<=://)[^/@]*@")
# Images per second of a video that states no rate.
DEFAULT_RATE = 25.0
# Images of a video that are tried behind one that cannot be decoded.
_TRIES = 100
# Containers without an index estimate their number of images. A video that lacks a greater share is cut.
_LACKING = 0.02


@dataclass(frozen=True)
class SourceImage:
    """One image of a source.

    Attributes:
        image: (H, W, 3) uint8 RGB.
        name: of the image file, relative to the folder if the source is one; or of the video or camera.
        number: position in a video or camera stream, from 0; None for an image file.
        rate: mean images per second of the video; None where it is unknown or there is no video.
        time: seconds from the first image of the video, by its time stamps, so that a rate that varies is
            respected; of a camera or stream by the clock. None for an image file outside a sequence.
        sequence: what persons are followed through: the video, camera or stream, or the folder whose images
            are a sequence (:func:`posecore.inference.sequences.image_sequences`). None for a single image.
    """

    image: np.ndarray
    name: str
    number: int | None = None
    rate: float | None = None
    time: float | None = None
    sequence: str | None = None

    @property
    def label(self) -> str:
        """The image's name for messages."""
        return self.name if self.number is None else f"{self.number} of {self.name}"


@dataclass(frozen=True)
class Source:
    """An image file, a video file, a camera or a stream.

    Attributes:
        address: path of the file, number of the camera, or address of the stream.
        kind: of the source; a "live" one is a camera or a stream.
        name: of its images (:class:`SourceImage`).
        sequence: of an image file, the sequence that it belongs to; None for none.
        time: of an image file, seconds from the first image of its sequence.
    """

    address: str
    kind: Literal["image", "video", "live"]
    name: str
    sequence: str | None = None
    time: float | None = None

    def __str__(self) -> str:
        """For messages: without what is secret in a stream's address, its login and query."""
        return _LOGIN.sub("", self.address).partition("?")[0] if self.kind == "live" else self.address

    def read(self, max_pixels: int = MAX_PIXELS) -> Iterator[SourceImage]:
        """The images of the source, one by one.

        Args:
            max_pixels: of image files, as for :func:`posecore.data.images.read_image`.

        Raises:
            FileNotFoundError: a video, camera or stream cannot be opened.
            ValueError: an image cannot be read. For a video this comes after its last image, and the message
                says which others could not be read, or how many are lacking.
        """
        if self.kind == "image":
            image = read_image(self.address, max_pixels)
            yield SourceImage(image, self.name, time=self.time, sequence=self.sequence)
            return
        capture = self._open()
        try:
            rate = capture.get(cv2.CAP_PROP_FPS) or None
            clock = _Clock(capture, rate, live=self.kind == "live")
            stated = int(capture.get(cv2.CAP_PROP_FRAME_COUNT)) if self.kind == "video" else 0
            number, end = 0, 0
            broken: list[int] = []
            # Behind an image that cannot be decoded others may follow.
            while number - end < _TRIES:
                success, image = capture.read()
                if success:
                    broken += range(end, number)
                    end = number + 1
                    pixels = cv2.cvtColor(image, cv2.COLOR_BGR2RGB)
                    yield SourceImage(pixels, self.name, number, rate, clock.time(number), self.name)
                elif number >= stated:
                    break
                number += 1
        finally:
            capture.release()
        if end == 0:
            raise ValueError(f"video {self} has no readable image")
        if broken:
            raise ValueError(
                f"video {self}: {len(broken)} of {end} images cannot be decoded, number {some(broken)}"
            )
        # Where the rate varies, the number of images may be estimated from the duration, which must lack too.
        if stated - end > _LACKING * stated and clock.end < (1 - _LACKING) * stated * clock.period:
            raise ValueError(f"video {self} ends after {end} of {stated} images; it is cut or broken")

    def _open(self) -> cv2.VideoCapture:
        """The opened video, camera or stream."""
        camera = self.kind == "live" and self.address.isdecimal()
        kind = "camera" if camera else "video" if self.kind == "video" else "stream"
        try:
            capture = cv2.VideoCapture(int(self.address) if camera else self.address)
        except (cv2.error, OverflowError) as error:  # such as at camera 99999999999
            raise FileNotFoundError(f"{kind} {self} cannot be opened") from error
        if not capture.isOpened():
            capture.release()
            raise FileNotFoundError(f"{kind} {self} cannot be opened")
        return capture


class _Clock:
    """The times of the images of an opened video, camera or stream.

    Args:
        capture: gives the time stamp of its last image.
        rate: images per second, for images without a time stamp; None where it is unknown.
        live: whether the clock on the wall gives the times.

    Attributes:
        period: mean seconds from image to image, as the container states it.
        end: an estimate of when the video ends, seconds: the last image stays as long as the longest did.
    """

    def __init__(self, capture: cv2.VideoCapture, rate: float | None, live: bool) -> None:
        self.capture = capture
        self.period = 1 / (rate or DEFAULT_RATE)
        self.live = live
        self.end = 0.0
        self._longest = self.period
        self._start: float | None = None
        self._last: tuple[int, float] | None = None

    def time(self, number: int) -> float:
        """Seconds from the first image to the one that was read last, greater than that of the one before.

        Args:
            number: of the image that was read last.
        """
        now = time.monotonic() if self.live else self.capture.get(cv2.CAP_PROP_POS_MSEC) / 1000
        if self._start is None:
            # Before this number there may be images that cannot be decoded.
            self._start = now if self.live or number == 0 else now - number * self.period
        seconds = now - self._start
        if self._last is not None and not seconds > self._last[1]:
            # A container without time stamps gives the same ones, or none.
            before, last = self._last
            seconds = last + (number - before) * self.period
        if self._last is not None:
            self._longest = max(self._longest, seconds - self._last[1])
        self.end = seconds + self._longest
        self._last = number, seconds
        return seconds


def list_sources(source: str | Path, excluded: Path | None = None) -> list[Source]:
    """The files and streams that a source stands for; nothing is read.

    Args:
        source: an image, a folder (its images in the order of their names, including folders in it), a
            video, the address of a stream (rtsp://, http://, ...), or the number of a camera as text. What
            exists as a file or folder is that, also if its name is a number.
        excluded: a folder inside a folder source whose images are left out.

    Raises:
        FileNotFoundError: there is no such file.
        ValueError: the source is neither an image nor a video; the message names it.
    """
    text = str(source)
    if _STREAM.match(text):
        return [Source(text, "live", _stream_name(text))]
    path = Path(source)
    if path.is_dir():
        found = sorted(
            child for child in path.rglob("*") if child.suffix.lower() in IMAGES and not child.is_dir()
        )
        if excluded is not None and excluded.resolve() != path.resolve():
            away = excluded.resolve()
            if away.is_relative_to(path.resolve()):
                found = [child for child in found if not child.parent.resolve().is_relative_to(away)]
        if not found:
            raise ValueError(f"folder {path} has no image ({', '.join(sorted(IMAGES))})")
        return [Source(str(child), "image", str(child.relative_to(path))) for child in found]
    if path.exists() and not path.is_file():
        raise ValueError(f"{path} is no regular file: images and videos must be files")
    if not path.is_file() and text.isascii() and text.isdecimal():
        return [Source(text, "live", f"camera{text}")]
    if not path.is_file():
        raise FileNotFoundError(f"there is no file or folder {path}")
    if path.suffix.lower() in VIDEOS:
        return [Source(str(path), "video", path.name)]
    if path.suffix.lower() in IMAGES:
        return [Source(str(path), "image", path.name)]
    raise ValueError(f"{path} is neither an image nor a video: its suffix is {path.suffix!r}")


def read_images(source: str | Path, max_pixels: int = MAX_PIXELS) -> Iterator[SourceImage]:
    """The images of a source (:func:`list_sources`), one by one; arguments and errors are those of
    :meth:`Source.read`."""
    for single in list_sources(source):
        yield from single.read(max_pixels)


def _stream_name(address: str) -> str:
    """A stream's address as a file name: letters and digits without scheme, login and query."""
    bare = _LOGIN.sub("", address).partition("://")[2].partition("?")[0]
    return re.sub(r"[^A-Za-z0-9-]+", "_", bare).strip("_") or "stream"
