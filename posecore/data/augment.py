"""Changes of training pictures, as Detectron2's augmentations: each draws a transform of picture and points.

Randomness comes from numpy's global generator, which Detectron2 seeds in every loader process.
"""

import numpy as np
from detectron2.config import CfgNode
from detectron2.data import transforms as T
from fvcore.transforms.transform import PadTransform


class CropToSize(T.Augmentation):
    """Cuts a window of fixed size; pictures that are smaller get black borders at the right and bottom.

    With persons, one is drawn at random and the window starts, before it is moved into the picture,
    uniformly in [corner - size / 2, corner], the corner being the upper left one of the person's box
    (the rule of DirectPose's authors). Else the window is anywhere.
    """

    def __init__(self, size: tuple[int, int], on_person: bool) -> None:
        """size: height and width, pixels; on_person: whether to place the window on a person."""
        super().__init__()
        self.size, self.on_person = size, on_person

    def get_transform(self, image: np.ndarray, boxes: np.ndarray) -> T.Transform:
        """boxes: (n, 4) of the persons, continuous pixels of the picture."""
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
    """Cuts a window whose height and width are independent random shares of the picture's.

    With persons, one is drawn at random and the window reaches the centre of its box, as in FCPose's
    data loader; others may be cut. Else the window is anywhere.
    """

    def __init__(self, least: tuple[float, float], on_person: bool) -> None:
        """least: the shares are uniform in [least, 1], for height and width; on_person as above."""
        super().__init__()
        self.least, self.on_person = least, on_person

    def get_transform(self, image: np.ndarray, boxes: np.ndarray) -> T.Transform:
        """boxes: (n, 4) of the persons, continuous pixels of the picture."""
        full = np.array(image.shape[:2])
        size = np.maximum((full * np.random.uniform(self.least, 1)).round().astype(int), 1)
        low, high = np.zeros(2, dtype=int), full - size
        if self.on_person and len(boxes):
            box = boxes[np.random.randint(len(boxes))]
            centre = np.array([box[1] + box[3], box[0] + box[2]]) / 2
            low = np.clip(np.ceil(centre - size).astype(int), low, high)
            high = np.clip(np.floor(centre).astype(int), low, high)
        top, left = np.random.randint(low, high + 1)
        return T.CropTransform(left, top, size[1], size[0])


def build_augmentations(cfg: CfgNode, is_train: bool) -> list[T.Augmentation]:
    """What INPUT asks for; in evaluation the resize alone.

    The order is that of the papers' code: a relative crop on the original picture, then the resize, then
    the rotation, then an absolute crop (so its pixels are those that the network sees), then the flip.
    Colours come last; they expect RGB.
    """
    settings = cfg.INPUT
    if not is_train:
        return [T.ResizeShortestEdge(settings.MIN_SIZE_TEST, settings.MAX_SIZE_TEST, "choice")]
    steps = [
        T.ResizeShortestEdge(
            settings.MIN_SIZE_TRAIN, settings.MAX_SIZE_TRAIN, settings.MIN_SIZE_TRAIN_SAMPLING
        )
    ]
    if settings.ROTATION > 0:
        steps.append(T.RandomRotation([-settings.ROTATION, settings.ROTATION], expand=False))
    if settings.CROP.ENABLED:
        if settings.CROP.TYPE == "relative_range":
            steps.insert(0, CropShare(settings.CROP.SIZE, settings.CROP.ON_PERSON))
        elif settings.CROP.TYPE == "absolute":
            steps.append(CropToSize(settings.CROP.SIZE, settings.CROP.ON_PERSON))
        else:
            raise ValueError(
                f"INPUT.CROP.TYPE must be 'relative_range' or 'absolute', not '{settings.CROP.TYPE}'"
            )
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
