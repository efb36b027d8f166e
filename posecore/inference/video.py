"""Reads images from files, folders, videos, cameras and streams: :class:`Source`, :func:`read_images`."""

import re
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import cv2
import numpy as np

from posecore.data.images import IMAGE_ENDINGS, MAX_PIXELS, read_image

IMAGES = IMAGE_ENDINGS
VIDEOS = {".mp4", ".avi", ".mov", ".mkv", ".webm", ".m4v"}
# Addresses of streams.
_STREAM = re.compile(r"(rtsps?|rtmp|https?)://", re.IGNORECASE)
# The login of an address, which is not for names and messages.
_LOGIN = re.compile(r"(?<=://)[^/@]*@")
# Broken images of a video that a message names.
_NAMED = 5
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
        rate: images per second of the video; None where it is unknown or there is no video.
    """

    image: np.ndarray
    name: str
    number: int | None = None
    rate: float | None = None


@dataclass(frozen=True)
class Source:
    """An image file, a video file, a camera or a stream.

    Attributes:
        address: path of the file, number of the camera, or address of the stream.
        kind: of the source; a "live" one is a camera or a stream.
        name: of its images (:class:`SourceImage`).
    """

    address: str
    kind: Literal["image", "video", "live"]
    name: str

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
            yield SourceImage(read_image(self.address, max_pixels), self.name)
            return
        capture = self._open()
        try:
            rate = capture.get(cv2.CAP_PROP_FPS) or None
            stated = int(capture.get(cv2.CAP_PROP_FRAME_COUNT)) if self.kind == "video" else 0
            number, end = 0, 0
            broken: list[int] = []
            # Behind an image that cannot be decoded others may follow.
            while number - end < _TRIES:
                success, image = capture.read()
                if success:
                    broken += range(end, number)
                    end = number + 1
                    yield SourceImage(cv2.cvtColor(image, cv2.COLOR_BGR2RGB), self.name, number, rate)
                elif number >= stated:
                    break
                number += 1
        finally:
            capture.release()
        if end == 0:
            raise ValueError(f"video {self} has no readable image")
        if broken:
            some = ", ".join(map(str, broken[:_NAMED])) + (", ..." if len(broken) > _NAMED else "")
            raise ValueError(f"video {self}: {len(broken)} of {end} images cannot be decoded, number {some}")
        if stated - end > _LACKING * stated:
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
