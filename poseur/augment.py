"""Random changes of training crops: of the region that is shown, then of the pixels that show it.

A change of the region is called with the region and the person's keypoints (K, 3) in the same coordinates
and returns a region. A change of the pixels takes a crop (h, w, 3) uint8 RGB and returns a new one. Both
leave their arguments as they are, and draw from numpy's global generator, which Detectron2 seeds in every
loader process.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace

import cv2
import numpy as np
from detectron2.config import CfgNode

from posecore.structures.skeleton import Skeleton
from poseur.crops import Region, enlarge

RegionChange = Callable[[Region, np.ndarray], Region]
PixelChange = Callable[[np.ndarray], np.ndarray]


@dataclass(frozen=True)
class Shift:
    """Moves the region, along each axis by at most a share of its size.

    Attributes:
        share: the greatest.
        probability: of being moved at all.
    """

    share: float
    probability: float

    def __call__(self, region: Region, keypoints: np.ndarray) -> Region:
        if np.random.rand() >= self.probability:
            return region
        return replace(region, center=region.center + np.random.uniform(-1, 1, 2) * self.share * region.size)


class RandomFlip:
    """Swaps left and right in half of the crops; who reads the keypoints swaps their names."""

    def __call__(self, region: Region, keypoints: np.ndarray) -> Region:
        return replace(region, flipped=np.random.rand() < 0.5)


class HalfBody:
    """Shows the upper or the lower half of a person instead of the whole.

    The region becomes that around the labeled keypoints of the half. Where those are fewer than three
    the other half is taken, and where the upper one then has fewer than two places the whole person stays.

    Args:
        upper, lower: indices of the keypoints of the halves.
        aspect: width / height of the crops.
        padding: how much larger than the keypoints' rectangle the region is.
        min_keypoints: a person with no more labeled keypoints than this stays whole.
        probability: of a half.
        upper_probability: that it is the upper one.
    """

    def __init__(
        self,
        *,
        upper: Sequence[int],
        lower: Sequence[int],
        aspect: float,
        padding: float,
        min_keypoints: int,
        probability: float,
        upper_probability: float,
    ) -> None:
        self.upper, self.lower = list(upper), list(lower)
        self.aspect, self.padding = aspect, padding
        self.min_keypoints = min_keypoints
        self.probability, self.upper_probability = probability, upper_probability

    def __call__(self, region: Region, keypoints: np.ndarray) -> Region:
        labeled = keypoints[:, 2] > 0
        if labeled.sum() <= self.min_keypoints or np.random.rand() >= self.probability:
            return region
        upper, lower = (keypoints[half][labeled[half], :2] for half in (self.upper, self.lower))
        wants_upper = np.random.rand() < self.upper_probability
        chosen = upper if len(lower) < 3 or (wants_upper and len(upper) >= 3) else lower
        if len(np.unique(chosen, axis=0)) < 2:
            return region
        return self.around(chosen)

    def around(self, points: np.ndarray) -> Region:
        """The region of some keypoints (n, 2): their mean is its center, their extent its size."""
        low, high = points.min(axis=0), points.max(axis=0)
        region = enlarge(np.concatenate([low, high]), self.aspect, self.padding)
        return replace(region, center=points.mean(axis=0))


@dataclass(frozen=True)
class Scale:
    """Multiplies the region's size by 1 + N(0, spread), which stays within 1 - spread and 1 + spread."""

    spread: float

    def __call__(self, region: Region, keypoints: np.ndarray) -> Region:
        factor = 1 + np.clip(self.spread * np.random.randn(), -self.spread, self.spread)
        return replace(region, size=region.size * factor)


@dataclass(frozen=True)
class Rotate:
    """Turns what is shown by N(0, spread) degrees, at most two spreads.

    Attributes:
        spread: degrees.
        probability: of being turned at all.
    """

    spread: float
    probability: float

    def __call__(self, region: Region, keypoints: np.ndarray) -> Region:
        if np.random.rand() >= self.probability:
            return region
        angle = np.clip(self.spread * np.random.randn(), -2 * self.spread, 2 * self.spread)
        return replace(region, angle=region.angle + float(angle))


class PhotometricDistortion:
    """The color changes of SSD (arXiv 1512.02325): each of four, drawn with probability 1/2.

    Brightness is moved by at most 32; contrast, before or after the other two, and saturation are
    multiplied by a factor in [0.5, 1.5]; hue is turned by at most 36 degrees.
    """

    def __call__(self, crop: np.ndarray) -> np.ndarray:
        pixels: np.ndarray = crop.astype(np.float32)
        if _heads():
            pixels += np.random.uniform(-32, 32)
        contrast_first = _heads()
        if contrast_first:
            pixels = self._change_contrast(pixels)
        # OpenCV's hue, saturation and value of floats: 0-360, 0-1, and that of the pixels.
        hsv = cv2.cvtColor(pixels.clip(0, 255), cv2.COLOR_RGB2HSV)
        if _heads():
            hsv[..., 1] = (hsv[..., 1] * np.random.uniform(0.5, 1.5)).clip(0, 1)
        if _heads():
            hsv[..., 0] = (hsv[..., 0] + np.random.uniform(-36, 36)) % 360
        pixels = cv2.cvtColor(hsv, cv2.COLOR_HSV2RGB)
        if not contrast_first:
            pixels = self._change_contrast(pixels)
        return pixels.clip(0, 255).round().astype(np.uint8)

    def _change_contrast(self, pixels: np.ndarray) -> np.ndarray:
        return pixels * np.float32(np.random.uniform(0.5, 1.5)) if _heads() else pixels


@dataclass(frozen=True)
class Cutout:
    """Blackens an ellipse anywhere in the crop; keypoints under it stay labeled.

    Attributes:
        radii: least and greatest of its two radii, as shares of the crop's width.
    """

    radii: tuple[float, float] = (0.2, 0.4)

    def __call__(self, crop: np.ndarray) -> np.ndarray:
        height, width = crop.shape[:2]
        center = int(np.random.randint(width)), int(np.random.randint(height))
        axes = (np.random.uniform(*self.radii, 2) * width).astype(int).tolist()
        return cv2.ellipse(crop.copy(), center, axes, 0, 0, 360, (0, 0, 0), -1)


def build_region_changes(cfg: CfgNode, skeleton: Skeleton) -> list[RegionChange]:
    """What INPUT.CROPS and INPUT.RANDOM_FLIP ask for, in the order of the official code.

    Skeletons without body_halves have no half-body crops.
    """
    node = cfg.INPUT.CROPS
    if cfg.INPUT.RANDOM_FLIP not in ("horizontal", "none"):
        raise ValueError(f"INPUT.RANDOM_FLIP must be 'horizontal' or 'none', not '{cfg.INPUT.RANDOM_FLIP}'")
    changes: list[RegionChange] = []
    if node.SHIFT.PROB > 0:
        changes.append(Shift(node.SHIFT.SHARE, node.SHIFT.PROB))
    if cfg.INPUT.RANDOM_FLIP == "horizontal":
        changes.append(RandomFlip())
    if node.HALF_BODY.PROB > 0 and skeleton.body_halves:
        upper, lower = (
            [skeleton.keypoints.index(name) for name in skeleton.body_halves[half]]
            for half in ("upper", "lower")
        )
        changes.append(
            HalfBody(
                upper=upper,
                lower=lower,
                aspect=node.SIZE[1] / node.SIZE[0],
                padding=node.HALF_BODY.PADDING,
                min_keypoints=node.HALF_BODY.MIN_KEYPOINTS,
                probability=node.HALF_BODY.PROB,
                upper_probability=node.HALF_BODY.UPPER_PROB,
            )
        )
    if node.SCALE > 0:
        changes.append(Scale(node.SCALE))
    if node.ROTATION.PROB > 0:
        changes.append(Rotate(node.ROTATION.DEGREES, node.ROTATION.PROB))
    return changes


def build_pixel_changes(cfg: CfgNode) -> list[PixelChange]:
    """What INPUT.CROPS asks for, in the order of the official code."""
    node = cfg.INPUT.CROPS
    changes: list[PixelChange] = []
    if node.COLOR:
        changes.append(PhotometricDistortion())
    if node.CUTOUT:
        changes.append(Cutout())
    return changes


def _heads() -> bool:
    return np.random.rand() < 0.5
