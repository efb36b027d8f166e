"""Changes of training images, as Detectron2's augmentations: each draws a transform of image and points.

Randomness comes from numpy's global generator, which Detectron2 seeds in every loader process.
"""

import numpy as np
from detectron2.config import CfgNode
from detectron2.data import transforms as T
from fvcore.transforms.transform import PadTransform

from posecore.config.options import choice

# Coarse dropout, as the authors of POET have it: the share of a coarse grid's cells that go black, the
# grid's size as a share of the image's, its least number of rows and columns, and how often each color
# has cells of its own.
DROPOUT_SHARES = (0.05, 0.2)
GRID_SHARES = (0.015, 0.03)
GRID_MINIMUM = 3
DROPOUT_BY_COLOR = 0.5


class CropToSize(T.Augmentation):
    """Cuts a window of fixed size; images that are smaller get black borders at the right and bottom.

    With persons, one is drawn at random and the window starts, before it is moved into the image,
    uniformly in [corner - size / 2, corner], the corner being the upper left one of the person's box
    (the rule of DirectPose's authors). Else the window is anywhere.
    """

    def __init__(self, size: tuple[int, int], on_person: bool) -> None:
        """size: height and width, pixels; on_person: whether to place the window on a person."""
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
    """Cuts a window whose height and width are independent random shares of the image's.

    With persons, one is drawn at random and the window reaches the center of its box, as in FCPose's
    data loader; others may be cut. Else the window is anywhere.
    """

    def __init__(self, least: tuple[float, float], on_person: bool) -> None:
        """least: the shares are uniform in [least, 1], for height and width; on_person as above."""
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


class ResizeRoundingDown(T.ResizeShortestEdge):
    """Detectron2's resize, but for the longer side, which is rounded down, as torchvision and DETR have it.

    Where the longer side would be above its limit, the shorter one becomes the nearest whole number that
    keeps the image's shape.
    """

    def get_transform(self, image: np.ndarray) -> T.Transform:
        height, width = image.shape[:2]
        shorter, longer = sorted((height, width))
        sizes = self.short_edge_length
        side = np.random.randint(sizes[0], sizes[1] + 1) if self.is_range else np.random.choice(sizes)
        if side == 0:  # Detectron2's word for no resize
            return T.NoOpTransform()
        if longer / shorter * side > self.max_size:
            side = round(self.max_size * shorter / longer)
        other = int(side * longer / shorter)
        new = (side, other) if height <= width else (other, side)
        return T.ResizeTransform(height, width, *new, self.interp)


class BlackCells(T.Transform):
    """Blackens the cells of a coarse grid; points stay.

    Args:
        keep: (H, W, 1 or 3) bool, of the size of the image.
    """

    def __init__(self, keep: np.ndarray) -> None:
        super().__init__()
        self.keep = keep

    def apply_image(self, image: np.ndarray) -> np.ndarray:
        return image * self.keep

    def apply_coords(self, coords: np.ndarray) -> np.ndarray:
        return coords


class CoarseDropout(T.Augmentation):
    """Blackens a random share of large cells, half of the times for each color on its own.

    Labels of keypoints do not change (arXiv 2103.12115, "Implementation details").
    """

    def get_transform(self, image: np.ndarray) -> T.Transform:
        share, scale = np.random.uniform(*DROPOUT_SHARES), np.random.uniform(*GRID_SHARES)
        rows, columns = (max(int(side * scale), GRID_MINIMUM) for side in image.shape[:2])
        colors = image.shape[2] if np.random.rand() < DROPOUT_BY_COLOR else 1
        grid = np.random.rand(rows, columns, colors) >= share
        height, width = image.shape[:2]
        # The cell that each row and column of the image lies in.
        down, across = np.arange(height) * rows // height, np.arange(width) * columns // width
        return BlackCells(grid[down[:, None], across])


RESIZES = {"nearest": T.ResizeShortestEdge, "down": ResizeRoundingDown}


def evaluation_resize(cfg: CfgNode) -> T.Augmentation:
    """The resize of images that poses are sought in."""
    resize = choice(cfg, "INPUT.RESIZE_ROUNDING", RESIZES)
    return resize(cfg.INPUT.MIN_SIZE_TEST, cfg.INPUT.MAX_SIZE_TEST, "choice")


def build_augmentations(cfg: CfgNode, is_train: bool) -> list[T.Augmentation]:
    """What INPUT asks for; in evaluation the resize alone.

    Rotation and dropout come first, so that the corners of crops stay images. The rest is in the order of
    the papers' code: a relative crop, or one of the range of sizes, then the resize, then an absolute crop
    (so its pixels are those that the network sees), then the flip. Colors come last; they expect RGB.
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
    before, after = _crops(cfg)
    resize = choice(cfg, "INPUT.RESIZE_ROUNDING", RESIZES)
    sizes = settings.MIN_SIZE_TRAIN, settings.MAX_SIZE_TRAIN, settings.MIN_SIZE_TRAIN_SAMPLING
    steps += [*before, resize(*sizes), *after]
    if settings.RANDOM_FLIP == "horizontal":
        steps.append(T.RandomFlip())
    elif settings.RANDOM_FLIP != "none":
        raise ValueError(f"INPUT.RANDOM_FLIP must be 'horizontal' or 'none', not '{settings.RANDOM_FLIP}'")
    for change, strength in (
        (T.RandomBrightness, settings.COLOR.BRIGHTNESS),
        (T.RandomContrast, settings.COLOR.CONTRAST),
        (T.RandomSaturation, settings.COLOR.SATURATION),
    ):
        if strength > 0:
            steps.append(change(1 - strength, 1 + strength))
    return steps


def _crops(cfg: CfgNode) -> tuple[list[T.Augmentation], list[T.Augmentation]]:
    """What comes before and after the resize."""
    crop = cfg.INPUT.CROP
    if not crop.ENABLED:
        return [], []
    if crop.TYPE == "relative_range":
        return [_sometimes(CropShare(crop.SIZE, crop.ON_PERSON), crop.PROB)], []
    if crop.TYPE == "absolute":
        return [], [_sometimes(CropToSize(crop.SIZE, crop.ON_PERSON), crop.PROB)]
    if crop.TYPE == "absolute_range":
        resize = choice(cfg, "INPUT.RESIZE_ROUNDING", RESIZES)(crop.RESIZE, sample_style="choice")
        cut = T.AugmentationList([resize, T.RandomCrop(crop.TYPE, crop.SIZE)])
        return [_sometimes(cut, crop.PROB)], []
    raise ValueError(
        f"INPUT.CROP.TYPE must be 'relative_range', 'absolute' or 'absolute_range', not '{crop.TYPE}'"
    )


def _sometimes(augmentation: T.Augmentation, probability: float) -> T.Augmentation:
    return T.RandomApply(augmentation, probability) if probability < 1 else augmentation
