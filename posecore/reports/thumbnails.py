"""Cut-outs of a dataset's images as data URIs: :class:`Thumbnails`."""

import base64
from collections import OrderedDict
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import cv2
import numpy as np

from posecore.data.images import read_image

# The quality of WebP, percent; at this one a cut-out of 400 pixels takes about 20 kB.
_QUALITY = 78
# Images that are kept decoded: persons of one image are asked for in a row.
_KEPT = 4


@dataclass(frozen=True)
class Thumbnail:
    """A cut-out of an image.

    Attributes:
        source: its data URI.
        x: left edge in the image, pixels.
        y: upper edge.
        width: in pixels of the image.
        height: in pixels of the image.
    """

    source: str
    x: int
    y: int
    width: int
    height: int


class Thumbnails:
    """Makes cut-outs of images, and remembers which images cannot be read.

    Args:
        side: the longer side of a cut-out is at most this, pixels.

    Attributes:
        problems: the messages of images that could not be read, by their paths.
    """

    def __init__(self, side: int = 400) -> None:
        self.side = side
        self.problems: dict[str, str] = {}
        self._images: OrderedDict[str, np.ndarray | None] = OrderedDict()

    def cut(
        self, path: str | Path, box: Sequence[float] | None = None, margin: float = 0.25
    ) -> Thumbnail | None:
        """A part of an image.

        Args:
            path: of the image.
            box: x, y, width, height, pixels; None for the whole image.
            margin: by which the part exceeds the box on each side, in the box's longer side.

        Returns:
            None where the image cannot be read, or nothing of the box is inside.
        """
        image = self._read(str(path))
        if image is None:
            return None
        height, width = image.shape[:2]
        left, top, right, bottom = 0, 0, width, height
        if box is not None:
            more = margin * max(box[2], box[3]) + 4
            left = int(np.clip(np.floor(box[0] - more), 0, width))
            top = int(np.clip(np.floor(box[1] - more), 0, height))
            right = int(np.clip(np.ceil(box[0] + box[2] + more), 0, width))
            bottom = int(np.clip(np.ceil(box[1] + box[3] + more), 0, height))
        if right <= left or bottom <= top:
            return None
        part = image[top:bottom, left:right]
        return Thumbnail(encode(part, self.side), left, top, right - left, bottom - top)

    def _read(self, path: str) -> np.ndarray | None:
        if path in self._images:
            self._images.move_to_end(path)
            return self._images[path]
        try:
            image: np.ndarray | None = read_image(path)
        except (OSError, ValueError) as error:
            self.problems[path] = str(error)
            image = None
        self._images[path] = image
        if len(self._images) > _KEPT:
            self._images.popitem(last=False)
        return image


def encode(image: np.ndarray, side: int | None = None) -> str:
    """An (H, W, 3) uint8 RGB image as a data URI, WebP.

    Args:
        image: the image.
        side: the longer side is made smaller where it exceeds this; None for the size as it is.
    """
    scale = 1.0 if side is None else min(side / max(image.shape[:2]), 1.0)
    if scale < 1:
        size = tuple(max(round(length * scale), 1) for length in image.shape[1::-1])
        image = cv2.resize(image, size, interpolation=cv2.INTER_AREA)
    success, content = cv2.imencode(
        ".webp", np.ascontiguousarray(image[:, :, ::-1]), [cv2.IMWRITE_WEBP_QUALITY, _QUALITY]
    )
    if not success:
        raise ValueError(f"an image of {image.shape[1]} x {image.shape[0]} pixels cannot be written as WebP")
    return "data:image/webp;base64," + base64.b64encode(content.tobytes()).decode()
