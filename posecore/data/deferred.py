"""Images whose resizes wait for the crop that follows: :class:`DeferredInput` augments with them.

A crop after a resize keeps a part of the image, often a small one. :class:`DeferredImage` computes this part
alone. Its pixels are those of the whole resize up to rounding: they differ by 1 at most.
"""

from dataclasses import dataclass
from typing import Any

import numpy as np
from detectron2.data import transforms as T
from PIL import Image


@dataclass(frozen=True)
class _Window:
    """The part of a resized image that is kept; x, y is its corner, in pixels after the resize."""

    resize: T.ResizeTransform
    x: int
    y: int
    width: int
    height: int

    def crop(self, transform: T.CropTransform) -> "_Window":
        """As slices of arrays are: a window that leaves the image ends at its edge."""
        return _Window(
            self.resize,
            self.x + transform.x0,
            self.y + transform.y0,
            min(transform.w, self.width - transform.x0),
            min(transform.h, self.height - transform.y0),
        )

    def read(self, image: Image.Image) -> np.ndarray:
        """(height, width, 3) of the image before the resize."""
        resize, size = self.resize, (self.width, self.height)
        if size == (resize.new_w, resize.new_h):
            return np.asarray(image.resize(size, resize.interp))
        across, down = resize.w / resize.new_w, resize.h / resize.new_h
        box = (
            self.x * across,
            self.y * down,
            min((self.x + self.width) * across, resize.w),
            min((self.y + self.height) * down, resize.h),
        )
        return np.asarray(image.resize(size, resize.interp, box))


class DeferredImage:
    """An image of which only the size is known until its pixels are asked for.

    Augmentations take it for an array (H, W, 3): ``shape`` costs nothing, and everything else that they ask
    of it, such as its mean, is that of :meth:`array`.

    Args:
        pixels: an RGB image of Pillow's, or an array (H, W, 3) uint8.
    """

    def __init__(self, pixels: Image.Image | np.ndarray) -> None:
        self._pixels = pixels
        self._window: _Window | None = None

    @property
    def shape(self) -> tuple[int, int, int]:
        """(H, W, 3)."""
        if self._window is not None:
            return (self._window.height, self._window.width, 3)
        if isinstance(self._pixels, Image.Image):
            return (self._pixels.height, self._pixels.width, 3)
        return self._pixels.shape

    def array(self) -> np.ndarray:
        """The pixels, (H, W, 3) uint8."""
        if self._window is not None:
            source = self._pixels
            image = source if isinstance(source, Image.Image) else Image.fromarray(source)
            self._pixels, self._window = self._window.read(image), None
        elif isinstance(self._pixels, Image.Image):
            self._pixels = np.array(self._pixels)
        return self._pixels

    def __array__(self, *args: Any, **kwargs: Any) -> np.ndarray:
        return np.array(self.array(), *args, **kwargs)

    def __getattr__(self, name: str) -> Any:
        if name.startswith("_"):  # for copies and pickles, which ask before there are pixels
            raise AttributeError(name)
        return getattr(self.array(), name)

    def transformed(self, transform: T.Transform) -> "DeferredImage":
        """The image after a transform, computed only where it is no resize and no crop of one."""
        if isinstance(transform, T.NoOpTransform):
            return self
        if isinstance(transform, T.TransformList):
            image = self
            for step in transform.transforms:
                image = image.transformed(step)
            return image
        if isinstance(transform, T.ResizeTransform):
            pixels = self._pixels if self._window is None else self.array()
            image = DeferredImage(pixels)
            image._window = _Window(transform, 0, 0, transform.new_w, transform.new_h)
            return image
        if isinstance(transform, T.CropTransform) and self._window is not None:
            image = DeferredImage(self._pixels)
            image._window = self._window.crop(transform)
            return image
        return DeferredImage(transform.apply_image(self.array()))


class DeferredInput(T.AugInput):
    """An image with boxes for Detectron2's augmentations, as ``AugInput`` is, with a :class:`DeferredImage`.

    Args:
        image: an RGB image of Pillow's, or an array (H, W, 3) uint8.
        boxes: (n, 4) corners, or None.
    """

    def __init__(self, image: Image.Image | np.ndarray, boxes: np.ndarray | None = None) -> None:
        self.image: Any = DeferredImage(image)
        self.boxes: Any = boxes
        self.sem_seg = None

    def transform(self, tfm: T.Transform) -> None:
        """Applies a transform to the boxes now, and to the image when it is needed."""
        self.image = self.image.transformed(tfm)
        if self.boxes is not None:
            self.boxes = tfm.apply_box(self.boxes)
