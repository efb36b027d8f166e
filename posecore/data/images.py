"""The one reader of image files: :func:`read_image`, for training, evaluation, drawings and prediction.

Pillow decodes. What a file means follows from its content alone, so that a model is given the same pixels
wherever it meets the file:

* the orientation of EXIF, XMP and TIFF is applied;
* 16 bits per channel become 8 by 1/256, also where only 12 of the 16 are used;
* gray, palette, CMYK and 1-bit images become RGB; opacity is dropped; of several frames the first is read;
* floating-point numbers and 32-bit integers are refused, because nothing says which of them is white.
"""

import contextlib
import functools
import os
import stat
import threading
import warnings
from collections.abc import Iterator
from pathlib import Path

import numpy as np
from detectron2.config import CfgNode
from PIL import Image, TiffImagePlugin, UnidentifiedImageError, features

from posecore.config.defaults import MAX_PIXELS

# Pillow's names of the formats that are read. Some others run programs (EPS), or take any file for theirs.
_FORMATS = (
    "JPEG",
    "PNG",
    "BMP",
    "DIB",
    "GIF",
    "TIFF",
    "WEBP",
    "PPM",
    *(("JPEG2000",) if features.check("jpg_2000") else ()),
    *(("AVIF",) if features.check("avif") else ()),
)
# The endings of image files, in lower case.
IMAGE_ENDINGS = frozenset(
    {
        ".jpg",
        ".jpeg",
        ".jpe",
        ".jfif",
        ".png",
        ".bmp",
        ".gif",
        ".webp",
        ".tif",
        ".tiff",
        ".pbm",
        ".pgm",
        ".ppm",
        ".pnm",
        *((".jp2", ".j2k", ".jpc", ".jpf", ".jpx") if "JPEG2000" in _FORMATS else ()),
        *((".avif",) if "AVIF" in _FORMATS else ()),
    }
)
_ORIENTATION = 0x0112
# How an image of each orientation is turned upright.
_UPRIGHT = {
    2: Image.Transpose.FLIP_LEFT_RIGHT,
    3: Image.Transpose.ROTATE_180,
    4: Image.Transpose.FLIP_TOP_BOTTOM,
    5: Image.Transpose.TRANSPOSE,
    6: Image.Transpose.ROTATE_270,
    7: Image.Transpose.TRANSVERSE,
    8: Image.Transpose.ROTATE_90,
}
_SWAPS_SIDES = (5, 6, 7, 8)
# Pillow warns of images above half of its limit.
warnings.filterwarnings("ignore", category=Image.DecompressionBombWarning)
_TIFF_SIZE = (256, 257)
_TIFF_BITS = 258
# Pillow's own limit is a variable of its module.
_lifted = threading.Lock()


def pixel_limit(cfg: CfgNode) -> int:
    """INPUT.MAX_PIXELS.

    Raises:
        ValueError: it is negative.
    """
    limit = cfg.INPUT.MAX_PIXELS
    if limit < 0:
        raise ValueError(f"INPUT.MAX_PIXELS must be a number of pixels, or 0 for no limit, not {limit}")
    return limit


def read_image(path: str | Path, max_pixels: int = MAX_PIXELS) -> np.ndarray:
    """The image of a file, upright: (H, W, 3) uint8 RGB.

    Args:
        path: a regular file of one of the formats above, whatever its ending.
        max_pixels: an image of more is refused, as INPUT.MAX_PIXELS says; 0 for no limit.

    Raises:
        FileNotFoundError: there is no such file; the message names it.
        ValueError: the file cannot be read, or its pixels have no clear meaning; the message names it.
    """
    return np.array(decode_image(path, max_pixels))


def decode_image(path: str | Path, max_pixels: int = MAX_PIXELS) -> Image.Image:
    """The same image as that of :func:`read_image`, as Pillow's, mode RGB; a resize then copies less.

    JPEG files are decoded at their full size also where a resize halves it. Pillow can decode them at a half
    (``draft``), but the pixels then differ from those of the resize by far more than rounding.
    """
    with _opened(path, max_pixels) as image:
        image.load()
        # After the loading, which applies and removes the orientation of a TIFF.
        orientation = _orientation(image)
        pixels = _to_rgb(image)
        return pixels.transpose(_UPRIGHT[orientation]) if orientation in _UPRIGHT else pixels


@functools.cache
def image_size(path: str | Path) -> tuple[int, int]:
    """Width and height of the upright image of a file, from its header; cached for datasets without sizes.

    Raises:
        FileNotFoundError, ValueError: as :func:`read_image`.
    """
    with _opened(path, max_pixels=0) as image:
        width, height = image.size
        if isinstance(image, TiffImagePlugin.TiffImageFile):  # Pillow may have turned the size already.
            width, height = (image.tag_v2[tag] for tag in _TIFF_SIZE)
        return (height, width) if _orientation(image) in _SWAPS_SIDES else (width, height)


@contextlib.contextmanager
def _opened(path: str | Path, max_pixels: int) -> Iterator[Image.Image]:
    """An image whose pixels are not decoded yet; all errors until it is closed name the file."""
    try:
        mode = os.stat(path).st_mode
        if not stat.S_ISREG(mode):  # a pipe would block for ever, and a device may never end
            raise ValueError(f"it is no regular file but a {_kind(mode)}")
        with _pillow_limit(max_pixels), Image.open(path, formats=_FORMATS) as image:
            _check_pixels(image, max_pixels)
            yield image
    except FileNotFoundError as error:
        raise FileNotFoundError(f"image {path} does not exist") from error
    except UnidentifiedImageError as error:
        content = "it is empty" if not os.path.getsize(path) else f"its content is none of {_FORMATS}"
        raise ValueError(f"image {path} cannot be read: {content}") from error
    except Image.DecompressionBombError as error:
        raise ValueError(f"image {path} cannot be read: {_too_large(max_pixels)}") from error
    # Pillow raises OSError, SyntaxError, struct.error, IndexError and others at files that are broken.
    except Exception as error:
        raise ValueError(f"image {path} cannot be read: {error or type(error).__name__}") from error


@contextlib.contextmanager
def _pillow_limit(max_pixels: int) -> Iterator[None]:
    """Lifts Pillow's own limit where ``max_pixels`` is above it."""
    if 0 < max_pixels <= MAX_PIXELS:
        yield
        return
    with _lifted:
        before = Image.MAX_IMAGE_PIXELS
        Image.MAX_IMAGE_PIXELS = None
        try:
            yield
        finally:
            Image.MAX_IMAGE_PIXELS = before


def _check_pixels(image: Image.Image, max_pixels: int) -> None:
    if 0 in image.size:
        raise ValueError("it has no pixels")
    if 0 < max_pixels < image.size[0] * image.size[1]:
        raise ValueError(f"it is {image.size[0]} x {image.size[1]}; {_too_large(max_pixels)}")


def _too_large(max_pixels: int) -> str:
    return (
        f"it has more than INPUT.MAX_PIXELS = {max_pixels} pixels; a larger number of this key, or 0 for no "
        "limit, admits it"
    )


def _kind(mode: int) -> str:
    kinds = {stat.S_IFDIR: "folder", stat.S_IFIFO: "named pipe", stat.S_IFSOCK: "socket"}
    return kinds.get(stat.S_IFMT(mode), "device")


def _orientation(image: Image.Image) -> int:
    """EXIF's number from 1 (upright) to 8; 1 where the image has none that can be read."""
    try:
        return image.getexif().get(_ORIENTATION, 1)
    except Exception:  # Broken metadata, at which Pillow raises many things, do not make an image unreadable.
        return 1


def _to_rgb(image: Image.Image) -> Image.Image:
    """An 8-bit RGB image of a loaded one."""
    # 16-bit PPM files, and in older versions of Pillow 16-bit PNG files, have the mode of 32 bits.
    if image.mode.startswith("I;16") or (image.mode == "I" and image.format in ("PNG", "PPM")):
        bits = getattr(image, "tag_v2", {}).get(_TIFF_BITS, (16,))[0]
        gray = np.asarray(image).astype(np.uint32) >> (bits - 8)  # A TIFF may hold 12 bits, packed.
        return Image.fromarray(gray.astype(np.uint8)).convert("RGB")
    if image.mode in ("I", "F"):
        numbers = "floating-point numbers" if image.mode == "F" else "integers of more than 16 bits or signed"
        raise ValueError(
            f"its pixels are {numbers}, and nothing says which of them is white; convert it to 8 or 16 bits "
            "per channel"
        )
    if "transparency" in image.info:  # Pillow warns where a palette with opacity becomes RGB at once.
        image = image.convert("RGBA")
    return image.convert("RGB")
