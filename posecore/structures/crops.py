"""The geometry of crops: the region around a person, and the maps between image and crop (CropGeometry).

Affine maps are (2, 3) float64 arrays A with crop point = A (x, y, 1); points are (x, y). Coordinates put the
center of the first pixel at ``first_pixel``: at 0.5 in continuous pixels, as everywhere in the project, and
at 0 in the official code, whose coordinates are indices of pixels in images and crops alike. In indices the
center (W / 2, H / 2) of a crop, or of a box, lies half a pixel away from the center of its pixels.
"""

from dataclasses import dataclass

import cv2
import numpy as np

# Where the center of the first pixel is, in the two kinds of coordinates.
CONTINUOUS = 0.5
PIXEL_INDICES = 0.0


@dataclass(frozen=True)
class Region:
    """The part of an image that a crop shows: a rectangle, rotated and flipped about its center.

    Attributes:
        center: (2,) in the image.
        size: (2,) width and height, pixels of the image.
        angle: degrees by which the content is rotated counterclockwise.
        flipped: whether left and right are swapped, after the rotation.
    """

    center: np.ndarray
    size: np.ndarray
    angle: float = 0.0
    flipped: bool = False


def enlarge(box: np.ndarray, aspect: float, padding: float) -> Region:
    """The region around a box: its shorter side is enlarged to the aspect ratio, then both sides by a factor.

    Args:
        box: (4,) x1, y1, x2, y2.
        aspect: width / height.
        padding: the factor, 1.25 in the paper.
    """
    width, height = box[2:] - box[:2]
    size = np.array([max(width, height * aspect), max(height, width / aspect)])
    return Region((box[:2] + box[2:]) / 2, size * padding)


def transform(points: np.ndarray, affine: np.ndarray) -> np.ndarray:
    """Maps points (..., 2) by an affine map (2, 3)."""
    return points @ affine[:, :2].T + affine[:, 2]


def usable_boxes(boxes: np.ndarray, scores: np.ndarray, min_score: float) -> np.ndarray:
    """Which boxes (M, 4) with scores (M,) crops can be cut around: (M,) bool.

    Args:
        boxes: corners x1, y1, x2, y2.
        scores: of the boxes.
        min_score: boxes with a lower score are not cut out.
    """
    return (boxes[:, 2:] > boxes[:, :2]).all(axis=1) & (scores >= min_score)


@dataclass(frozen=True)
class CropGeometry:
    """Cuts crops of one size, and maps between image and crop.

    Attributes:
        size: height and width of a crop, pixels.
        padding: how much larger than a person's box its region is.
        first_pixel: coordinate of the center of the first pixel, in images and crops.
    """

    size: tuple[int, int]
    padding: float = 1.25
    first_pixel: float = CONTINUOUS

    @property
    def aspect(self) -> float:
        """Width / height."""
        return self.size[1] / self.size[0]

    def clip(self, boxes: np.ndarray, image_size: tuple[int, int]) -> np.ndarray:
        """Clips boxes (..., 4) to an image (height, width)."""
        return boxes.clip(0, np.tile(self._last(image_size), 2))

    def region(self, box: np.ndarray) -> Region:
        """The region around a box (4,) with an area."""
        return enlarge(box, self.aspect, self.padding)

    def image_to_crop(self, region: Region) -> np.ndarray:
        """The map (2, 3) that takes the region's center to (W / 2, H / 2) and its width to W."""
        height, width = self.size
        angle, scale = np.deg2rad(region.angle), width / region.size[0]
        linear = scale * np.array([[np.cos(angle), np.sin(angle)], [-np.sin(angle), np.cos(angle)]])
        if region.flipped:
            linear[0] *= -1
        center = np.array([width, height]) / 2
        return np.column_stack([linear, center - linear @ region.center])

    def crop_to_image(self, region: Region) -> np.ndarray:
        """The map (2, 3) from coordinates of the crop to continuous pixels of the image."""
        affine = cv2.invertAffineTransform(self.image_to_crop(region))
        affine[:, 2] += np.array(CONTINUOUS - self.first_pixel)
        return affine

    def cut(self, image: np.ndarray, region: Region) -> np.ndarray:
        """The crop (h, w, C) of an image (H, W, C), bilinear; zero outside of the image."""
        affine = self.image_to_crop(region)
        # OpenCV's coordinates are indices of pixels.
        affine[:, 2] += self.first_pixel * (affine[:, :2].sum(axis=1) - 1)
        height, width = self.size
        return cv2.warpAffine(image, affine, (width, height), flags=cv2.INTER_LINEAR)

    def in_image(self, keypoints: np.ndarray) -> np.ndarray:
        """Keypoints (K, 3) in continuous pixels -> the same in this geometry's coordinates of the image."""
        shift = CONTINUOUS - self.first_pixel
        return keypoints - np.array([shift, shift, 0])

    def inside(self, points: np.ndarray) -> np.ndarray:
        """Whether points (..., 2) are in the crop: (...) bool."""
        within = (points >= 0) & (points <= self._last(self.size))
        return np.asarray(within.all(axis=-1))

    def _last(self, size: tuple[int, int]) -> np.ndarray:
        """The greatest x and y (2,) in an image or crop (height, width)."""
        return np.array(size[::-1]) - (1 - 2 * self.first_pixel)
