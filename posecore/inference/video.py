"""Reads images from files, folders, videos and cameras, as :class:`Frame` objects."""

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import cv2
import numpy as np

IMAGES = {".jpg", ".jpeg", ".png", ".bmp", ".webp", ".tif", ".tiff"}
VIDEOS = {".mp4", ".avi", ".mov", ".mkv", ".webm", ".m4v"}


@dataclass(frozen=True)
class Frame:
    """One image of a source.

    Attributes:
        image: (H, W, 3) uint8 RGB.
        name: of the file, within its folder where a folder is the source; or of the video or camera.
        number: position in a video or camera stream, from 0; None for an image of its own.
        rate: images per second of the video; None where there is none.
    """

    image: np.ndarray
    name: str
    number: int | None = None
    rate: float | None = None


def read_frames(source: str | Path) -> Iterator[Frame]:
    """The images of a source, one by one.

    Args:
        source: an image, a folder (its images in the order of their names, folders in it too), a
            video, or the number of a camera as text.

    Raises:
        FileNotFoundError: there is no such file or camera.
        ValueError: it is neither an image nor a video, or it is broken; names it.
    """
    if str(source).isdigit():
        yield from _stream(cv2.VideoCapture(int(str(source))), f"camera{source}", str(source))
        return
    path = Path(source)
    if path.is_dir():
        images = sorted(child for child in path.rglob("*") if child.suffix.lower() in IMAGES)
        if not images:
            raise ValueError(f"folder {path} holds no image ({', '.join(sorted(IMAGES))})")
        yield from (_image(image, str(image.relative_to(path))) for image in images)
    elif not path.is_file():
        raise FileNotFoundError(f"there is no file or folder {path}")
    elif path.suffix.lower() in VIDEOS:
        yield from _stream(cv2.VideoCapture(str(path)), path.name, str(path))
    elif path.suffix.lower() in IMAGES:
        yield _image(path, path.name)
    else:
        raise ValueError(f"{path} is neither an image nor a video by its ending")


def _image(path: Path, name: str) -> Frame:
    image = cv2.imdecode(np.fromfile(path, dtype=np.uint8), cv2.IMREAD_COLOR) if path.stat().st_size else None
    if image is None:
        raise ValueError(f"image {path} cannot be read: it is broken or empty")
    return Frame(cv2.cvtColor(image, cv2.COLOR_BGR2RGB), name)


def _stream(capture: cv2.VideoCapture, name: str, source: str) -> Iterator[Frame]:
    try:
        if not capture.isOpened():
            kind = "camera" if source.isdigit() else "video"
            raise FileNotFoundError(f"{kind} {source} cannot be opened")
        rate = capture.get(cv2.CAP_PROP_FPS) or None
        number = 0
        while True:
            there_is_one, image = capture.read()
            if not there_is_one:
                break
            yield Frame(cv2.cvtColor(image, cv2.COLOR_BGR2RGB), name, number, rate)
            number += 1
        if number == 0:
            raise ValueError(f"video {source} holds no image that can be read")
    finally:
        capture.release()
