"""Augmentation of training crops: random changes of the region that a crop shows, then of its pixels.

A change of the region (``RegionChange``) is called with the region and the person's keypoints (K, 3) in the
same coordinates and returns a region. A change of the pixels (``PixelChange``) takes a crop (h, w, 3) uint8
RGB and returns a new one. Neither modifies its arguments. Both draw from numpy's global generator, which
Detectron2 seeds in every loader process.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace

import cv2
import numpy as np
from detectron2.config import CfgNode

from posecore.data.augment import flip_steps
from posecore.structures.crops import Region, enlarge
from posecore.structures.skeleton import Skeleton

RegionChange = Callable[[Region, np.ndarray], Region]
PixelChange = Callable[[np.ndarray], np.ndarray]


@dataclass(frozen=True)
class Shift:
    """Moves the region along each axis by at most a share of its size.

    Attributes:
        share: the greatest share.
        probability: of a shift.
    """

    share: float
    probability: float

    def __call__(self, region: Region, keypoints: np.ndarray) -> Region:
        if np.random.rand() >= self.probability:
            return region
        return replace(region, center=region.center + np.random.uniform(-1, 1, 2) * self.share * region.size)


class RandomFlip:
    """Flips half of the crops; :class:`~poseur.samples.PersonCropSamples` then swaps the keypoints."""

    def __call__(self, region: Region, keypoints: np.ndarray) -> Region:
        return replace(region, flipped=np.random.rand() < 0.5)


class HalfBody:
    """Shows the upper or the lower half of a person instead of the whole.

    The region becomes that around the labeled keypoints of one half. If these are fewer than three, the
    other half is taken. If the labeled keypoints of the half that is taken lie in fewer than two different
    places, the region stays as it is.

    Args:
        upper, lower: indices of the keypoints of the halves.
        aspect: width / height of the crops.
        padding: how much larger than the keypoints' rectangle the region is.
        min_keypoints: a person with no more labeled keypoints than this is always shown as a whole.
        probability: of showing a half.
        upper_probability: that this is the upper half.
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
        """The region around keypoints (n, 2): its center is their mean, its size follows their extent."""
        low, high = points.min(axis=0), points.max(axis=0)
        region = enlarge(np.concatenate([low, high]), self.aspect, self.padding)
        return replace(region, center=points.mean(axis=0))


@dataclass(frozen=True)
class Scale:
    """Multiplies the region's size by a factor 1 + N(0, spread), clipped to [1 - spread, 1 + spread]."""

    spread: float

    def __call__(self, region: Region, keypoints: np.ndarray) -> Region:
        factor = 1 + np.clip(self.spread * np.random.randn(), -self.spread, self.spread)
        return replace(region, size=region.size * factor)


@dataclass(frozen=True)
class Rotate:
    """Rotates the content by an angle N(0, spread), clipped to [-2 spread, 2 spread].

    Attributes:
        spread: standard deviation, degrees.
        probability: of a rotation.
    """

    spread: float
    probability: float

    def __call__(self, region: Region, keypoints: np.ndarray) -> Region:
        if np.random.rand() >= self.probability:
            return region
        angle = np.clip(self.spread * np.random.randn(), -2 * self.spread, 2 * self.spread)
        return replace(region, angle=region.angle + float(angle))


class PhotometricDistortion:
    """The color augmentation of SSD (arXiv 1512.02325): four changes, each with probability 1/2.

    At most 32 is added to the brightness; contrast, before or after hue and saturation, and saturation are
    multiplied by a factor in [0.5, 1.5]; hue is rotated by at most 36 degrees.
    """

    def __call__(self, crop: np.ndarray) -> np.ndarray:
        pixels: np.ndarray = crop.astype(np.float32)
        if _coin_flip():
            pixels += np.random.uniform(-32, 32)
        contrast_first = _coin_flip()
        if contrast_first:
            pixels = self._change_contrast(pixels)
        # For floats OpenCV gives hue in 0-360, saturation in 0-1, and value in the range of the pixels.
        hsv = cv2.cvtColor(pixels.clip(0, 255), cv2.COLOR_RGB2HSV)
        if _coin_flip():
            hsv[..., 1] = (hsv[..., 1] * np.random.uniform(0.5, 1.5)).clip(0, 1)
        if _coin_flip():
            hsv[..., 0] = (hsv[..., 0] + np.random.uniform(-36, 36)) % 360
        pixels = cv2.cvtColor(hsv, cv2.COLOR_HSV2RGB)
        if not contrast_first:
            pixels = self._change_contrast(pixels)
        return pixels.clip(0, 255).round().astype(np.uint8)

    def _change_contrast(self, pixels: np.ndarray) -> np.ndarray:
        return pixels * np.float32(np.random.uniform(0.5, 1.5)) if _coin_flip() else pixels


@dataclass(frozen=True)
class Cutout:
    """Blackens an ellipse anywhere in the crop; keypoints under it stay labeled.

    Attributes:
        radii: least and greatest value of both radii, as shares of the crop's width.
    """

    radii: tuple[float, float] = (0.2, 0.4)

    def __call__(self, crop: np.ndarray) -> np.ndarray:
        height, width = crop.shape[:2]
        center = int(np.random.randint(width)), int(np.random.randint(height))
        axes = (np.random.uniform(*self.radii, 2) * width).astype(int).tolist()
        return cv2.ellipse(crop.copy(), center, axes, 0, 0, 360, (0, 0, 0), -1)


def build_region_changes(cfg: CfgNode, skeleton: Skeleton) -> list[RegionChange]:
    """The changes that INPUT.CROPS and INPUT.RANDOM_FLIP name, in the order of the official code.

    Skeletons without body_halves have no half-body crops.

    Raises:
        ValueError: INPUT.RANDOM_FLIP is neither "horizontal" nor "none".
    """
    node = cfg.INPUT.CROPS
    changes: list[RegionChange] = []
    if node.SHIFT.PROB > 0:
        changes.append(Shift(node.SHIFT.SHARE, node.SHIFT.PROB))
    changes += flip_steps(cfg, RandomFlip())
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
    """The changes that INPUT.CROPS names, in the order of the official code."""
    node = cfg.INPUT.CROPS
    changes: list[PixelChange] = []
    if node.COLOR:
        changes.append(PhotometricDistortion())
    if node.CUTOUT:
        changes.append(Cutout())
    return changes


def _coin_flip() -> bool:
    return np.random.rand() < 0.5
