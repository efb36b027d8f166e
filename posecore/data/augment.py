"""Augmentations of training images, put together by :func:`build_augmentations`.

They are Detectron2 augmentations: each draws a transform of the image and its points. Randomness comes from
numpy's global generator, which :mod:`posecore.data.training_samples` seeds for every sample.
"""

from collections.abc import Callable
from typing import TypeVar

import numpy as np
from detectron2.config import CfgNode
from detectron2.data import transforms as T
from fvcore.transforms.transform import PadTransform

from posecore.config.options import choice

Step = TypeVar("Step")
# The augmentations before the resize, and those after it.
Crop = tuple[list[T.Augmentation], list[T.Augmentation]]

# Coarse dropout as in POET's official code: the share of a coarse grid's cells that turn black, the grid's
# size as a share of the image's, its least number of rows and columns, and the probability that each color
# channel has its own cells.
DROPOUT_SHARES = (0.05, 0.2)
GRID_SHARES = (0.015, 0.03)
GRID_MINIMUM = 3
DROPOUT_BY_COLOR = 0.5


class CropToSize(T.Augmentation):
    """Crops a window of fixed size; smaller images are padded with black at the right and bottom.

    With ``on_person`` and persons in the image, one is drawn at random. The window starts uniformly in
    [corner - size / 2, corner], where corner is the upper left one of the person's box, and is then moved
    into the image (DirectPose's official code). Otherwise the window is anywhere.
    """

    def __init__(self, size: tuple[int, int], on_person: bool) -> None:
        """
        Args:
            size: height and width of the window, pixels.
            on_person: whether to place the window on a person.
        """
        super().__init__()
        self.size, self.on_person = size, on_person

    def get_transform(self, image: np.ndarray, boxes: np.ndarray) -> T.Transform:
        """boxes: (n, 4) of the persons, continuous pixels of the image."""
        room = np.maximum(np.subtract(image.shape[:2], self.size), 0)
        if self.on_person and len(boxes):
            corner = boxes[np.random.randint(len(boxes)), 1::-1]
            start = np.random.uniform(corner - np.divide(self.size, 2), corner).round()
            top, left = start.clip(0, room).astype(int)
        else:
            top, left = np.random.randint(room + 1)
        height, width = np.minimum(image.shape[:2], self.size)
        crop = T.CropTransform(left, top, width, height)
        if (height, width) == tuple(self.size):
            return crop
        pad = PadTransform(0, 0, self.size[1] - width, self.size[0] - height, width, height)
        return T.TransformList([crop, pad])


class CropShare(T.Augmentation):
    """Crops a window whose height and width are independent random shares of the image's.

    With ``on_person`` and persons in the image, one is drawn at random and the window contains the center of
    its box, as in FCPose's data loader; other persons may be cut. Otherwise the window is anywhere.
    """

    def __init__(self, least: tuple[float, float], on_person: bool) -> None:
        """
        Args:
            least: for height and width; the shares are uniform in [least, 1].
            on_person: whether to place the window on a person.
        """
        super().__init__()
        self.least, self.on_person = least, on_person

    def get_transform(self, image: np.ndarray, boxes: np.ndarray) -> T.Transform:
        """boxes: (n, 4) of the persons, continuous pixels of the image."""
        full = np.array(image.shape[:2])
        size = np.maximum((full * np.random.uniform(self.least, 1)).round().astype(int), 1)
        low, high = np.zeros(2, dtype=int), full - size
        if self.on_person and len(boxes):
            box = boxes[np.random.randint(len(boxes))]
            center = np.array([box[1] + box[3], box[0] + box[2]]) / 2
            low = np.clip(np.ceil(center - size).astype(int), low, high)
            high = np.clip(np.floor(center).astype(int), low, high)
        top, left = np.random.randint(low, high + 1)
        return T.CropTransform(left, top, size[1], size[0])


class CropAroundPerson(T.Augmentation):
    """Crops a square window around a person drawn at random, as large as the person's size asks for.

    Persons who are small in their images become large, with little of the background, so that training images
    can be small. The window is anywhere where it contains the person's box; along a side of the box that is
    longer, the window lies within the box. Parts outside the image are left out. Images without persons stay
    as they are.
    """

    def __init__(self, sizes: tuple[float, float]) -> None:
        """
        Args:
            sizes: least and greatest side of the window, as multiples of the longer side of the person's box;
                the side is uniform between them.
        """
        super().__init__()
        self.sizes = sizes

    def get_transform(self, image: np.ndarray, boxes: np.ndarray) -> T.Transform:
        """boxes: (n, 4) of the persons, continuous pixels of the image."""
        if not len(boxes):
            return T.NoOpTransform()
        first, last = boxes[np.random.randint(len(boxes))].reshape(2, 2)[:, ::-1]
        side = (last - first).max() * np.random.uniform(*self.sizes)
        start = np.random.uniform(np.minimum(first, last - side), np.maximum(first, last - side))
        top, left = start.round().astype(int).clip(0, np.subtract(image.shape[:2], 1))
        bottom, right = (start + side).round().astype(int).clip((top + 1, left + 1), image.shape[:2])
        return T.CropTransform(left, top, right - left, bottom - top)


class EmptyImageError(ValueError):
    """A resize would leave no pixels of an image."""


class ResizeShortestEdge(T.ResizeShortestEdge):
    """Detectron2's resize of the shorter side, for an image that keeps a pixel."""

    def get_transform(self, image: np.ndarray) -> T.Transform:
        """The transform of an image, drawn anew."""
        return _not_empty(super().get_transform(image))


class ResizeRoundingDown(T.ResizeShortestEdge):
    """Detectron2's resize of the shorter side, with the longer one rounded down as in torchvision and DETR.

    Where the longer side would be above its limit, the shorter one becomes the nearest whole number that
    keeps the aspect ratio.
    """

    def get_transform(self, image: np.ndarray) -> T.Transform:
        """The transform of an image, drawn anew."""
        height, width = image.shape[:2]
        shorter, longer = sorted((height, width))
        sizes = self.short_edge_length
        side = np.random.randint(sizes[0], sizes[1] + 1) if self.is_range else np.random.choice(sizes)
        if side == 0:  # no resize, in Detectron2
            return T.NoOpTransform()
        if longer / shorter * side > self.max_size:
            side = round(self.max_size * shorter / longer)
        other = int(side * longer / shorter)
        new = (side, other) if height <= width else (other, side)
        return _not_empty(T.ResizeTransform(height, width, *new, self.interp))


class BlackCells(T.Transform):
    """Turns pixels of an image black; points do not move.

    Args:
        keep: (H, W, 1 or 3) bool, False where the image becomes black.
    """

    def __init__(self, keep: np.ndarray) -> None:
        super().__init__()
        self.keep = keep

    def apply_image(self, image: np.ndarray) -> np.ndarray:
        """The image after the transform, (H, W, 3)."""
        return image * self.keep

    def apply_coords(self, coords: np.ndarray) -> np.ndarray:
        """Points (n, 2) after the transform."""
        return coords


class CoarseDropout(T.Augmentation):
    """Turns a random share of large cells black, with probability 1/2 separately for each color channel.

    Labels of keypoints do not change (arXiv 2103.12115, "Implementation details").
    """

    def get_transform(self, image: np.ndarray) -> T.Transform:
        """The transform of an image, drawn anew."""
        share, scale = np.random.uniform(*DROPOUT_SHARES), np.random.uniform(*GRID_SHARES)
        rows, columns = (max(int(side * scale), GRID_MINIMUM) for side in image.shape[:2])
        colors = image.shape[2] if np.random.rand() < DROPOUT_BY_COLOR else 1
        grid = np.random.rand(rows, columns, colors) >= share
        height, width = image.shape[:2]
        # The grid cell of each row and column of the image.
        down, across = np.arange(height) * rows // height, np.arange(width) * columns // width
        return BlackCells(grid[down[:, None], across])


# The options of INPUT.RESIZE_ROUNDING.
RESIZES = {"nearest": ResizeShortestEdge, "down": ResizeRoundingDown}


def evaluation_resize(cfg: CfgNode) -> T.Augmentation:
    """The resize of images in evaluation."""
    resize = choice(cfg, "INPUT.RESIZE_ROUNDING", RESIZES)
    return resize(cfg.INPUT.MIN_SIZE_TEST, cfg.INPUT.MAX_SIZE_TEST, "choice")


def build_augmentations(cfg: CfgNode, is_train: bool) -> list[T.Augmentation]:
    """The augmentations that INPUT asks for; in evaluation the resize alone.

    Rotation comes before the crop, which then leaves out some of its black corners. The rest is in the order
    of the official codes: a crop of type "person", "relative_range" or "absolute_range", the resize, a crop
    of type "absolute" (its size is then in pixels that the network sees), the flip. Color changes come last;
    they expect RGB.

    Args:
        cfg: INPUT.
        is_train: whether for training.

    Raises:
        ValueError: a key of INPUT has an unknown value.
    """
    settings = cfg.INPUT
    if not is_train:
        return [evaluation_resize(cfg)]
    steps: list[T.Augmentation] = []
    if settings.ROTATION > 0:
        rotation = T.RandomRotation([-settings.ROTATION, settings.ROTATION], expand=False)
        steps.append(_sometimes(rotation, settings.ROTATION_PROB))
    if settings.COARSE_DROPOUT_PROB > 0:
        steps.append(_sometimes(CoarseDropout(), settings.COARSE_DROPOUT_PROB))
    before, after = build_crop(cfg)
    resize = choice(cfg, "INPUT.RESIZE_ROUNDING", RESIZES)
    sizes = settings.MIN_SIZE_TRAIN, settings.MAX_SIZE_TRAIN, settings.MIN_SIZE_TRAIN_SAMPLING
    steps += [*before, resize(*sizes), *after]
    steps += flip_steps(cfg, T.RandomFlip())
    for change, strength in (
        (T.RandomBrightness, settings.COLOR.BRIGHTNESS),
        (T.RandomContrast, settings.COLOR.CONTRAST),
        (T.RandomSaturation, settings.COLOR.SATURATION),
    ):
        if strength > 0:
            steps.append(change(1 - strength, 1 + strength))
    return steps


def _not_empty(resize: T.Transform) -> T.Transform:
    """The resize itself.

    Raises:
        EmptyImageError: it would make a side of an image 0.
    """
    if isinstance(resize, T.ResizeTransform) and min(resize.new_h, resize.new_w) < 1:
        raise EmptyImageError(
            f"it is {resize.w} wide and {resize.h} high, and the resize of INPUT or TEST.AUG would make it "
            f"{resize.new_w} wide and {resize.new_h} high; crop it, or raise the greatest size (MAX_SIZE)"
        )
    return resize


def flip_steps(cfg: CfgNode, flip: Step) -> list[Step]:
    """The steps that INPUT.RANDOM_FLIP asks for: ``flip`` for "horizontal", nothing for "none"."""
    options: dict[str, list[Step]] = {"horizontal": [flip], "none": []}
    return choice(cfg, "INPUT.RANDOM_FLIP", options)


def build_crop(cfg: CfgNode) -> Crop:
    """The crop that INPUT.CROP asks for, before or after the resize."""
    crop = cfg.INPUT.CROP
    if not crop.ENABLED:
        return [], []

    def relative_range() -> Crop:
        return [_sometimes(CropShare(crop.SIZE, crop.ON_PERSON), crop.PROB)], []

    def absolute() -> Crop:
        return [], [_sometimes(CropToSize(crop.SIZE, crop.ON_PERSON), crop.PROB)]

    def person() -> Crop:
        least, greatest = crop.SIZE
        if not 0 < least <= greatest:
            raise ValueError(
                'INPUT.CROP.SIZE of INPUT.CROP.TYPE "person" must be a least and a greatest multiple of the '
                f"person's size, such as (1.2, 2.0), not {crop.SIZE}"
            )
        return [_sometimes(CropAroundPerson(crop.SIZE), crop.PROB)], []

    def absolute_range() -> Crop:
        resize = choice(cfg, "INPUT.RESIZE_ROUNDING", RESIZES)(crop.RESIZE, sample_style="choice")
        window = T.RandomCrop("absolute_range", crop.SIZE)
        return [_sometimes(T.AugmentationList([resize, window]), crop.PROB)], []

    options: dict[str, Callable[[], Crop]] = {
        "person": person,
        "relative_range": relative_range,
        "absolute": absolute,
        "absolute_range": absolute_range,
    }
    return choice(cfg, "INPUT.CROP.TYPE", options)()


def _sometimes(augmentation: T.Augmentation, probability: float) -> T.Augmentation:
    return T.RandomApply(augmentation, probability) if probability < 1 else augmentation
