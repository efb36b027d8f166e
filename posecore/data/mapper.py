"""From a dataset dict to a sample that models take: :class:`PoseMapper` reads, augments, makes instances."""

from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Literal

import numpy as np
import torch
from detectron2.config import CfgNode, configurable
from detectron2.data import transforms as T
from detectron2.structures import Boxes, BoxMode, Instances, Keypoints
from PIL import Image

from posecore.config.options import choice
from posecore.data.augment import EmptyImageError, build_augmentations
from posecore.data.deferred import DeferredInput
from posecore.data.images import MAX_PIXELS, decode_image, pixel_limit
from posecore.structures.boxes import keypoint_boxes
from posecore.structures.skeleton import Skeleton, load_skeleton

# Pixels that pseudo-boxes are wider than their keypoints on each side, as in DirectPose's official code.
MARGIN = 1.0
# The least width and height of a pseudo-box without a margin, pixels of the original image.
LEAST_SIDE = 1.0

# The order of an image's channels, and the options of INPUT.FORMAT.
ImageFormat = Literal["BGR", "RGB"]
IMAGE_FORMATS: dict[str, ImageFormat] = {"BGR": "BGR", "RGB": "RGB"}


@dataclass(frozen=True)
class People:
    """The n persons of an image that a model is trained with.

    Attributes:
        keypoints: (n, K, 3) in continuous pixels.
        boxes: (n, 4) corners.
        areas: (n,) square pixels.
    """

    keypoints: np.ndarray
    boxes: np.ndarray
    areas: np.ndarray

    def __getitem__(self, rows: np.ndarray) -> "People":
        return People(self.keypoints[rows], self.boxes[rows], self.areas[rows])


# Chooses the boxes of persons: takes the persons with their annotated boxes and the (height, width) of the
# image, and may leave persons out.
BoxRule = Callable[[People, tuple[int, int]], People]


def annotated_boxes(people: People, image_size: tuple[int, int]) -> People:
    """All persons with their annotated boxes."""
    return people


def boxes_around_keypoints(people: People, image_size: tuple[int, int]) -> People:
    """Persons with labeled keypoints, with pseudo-boxes one pixel wider than these on each side."""
    return replace(people, boxes=_pseudo_boxes(people, MARGIN, image_size))[_is_labeled(people)]


def boxes_around_keypoints_or_annotated(people: People, image_size: tuple[int, int]) -> People:
    """Pseudo-boxes without a margin, and annotated boxes for persons without labeled keypoints.

    Persons without an area are left out, and those with boxes of less than a pixel (InsPose's official code).
    """
    labeled = _is_labeled(people)[:, None]
    boxes = np.where(labeled, _pseudo_boxes(people, 0.0, image_size), people.boxes)
    sides = boxes[:, 2:] - boxes[:, :2]
    return replace(people, boxes=boxes)[(sides >= LEAST_SIDE).all(axis=1) & (people.areas > 0)]


# The options of INPUT.BOXES.
BOX_RULES: dict[str, BoxRule] = {
    "keypoints": boxes_around_keypoints,
    "annotated": annotated_boxes,
    "keypoints_or_annotated": boxes_around_keypoints_or_annotated,
}


class PoseMapper:
    """Makes a sample of a dataset dict, which is not modified: reads the image and augments it.

    A sample is a dict with image, a uint8 tensor (3, H, W), and with file_name, image_id, height and width of
    the dataset dict. If it is labeled, as for training, it also has instances with the n persons that are no
    crowd; n may be 0:

    * gt_boxes (n, 4);
    * gt_classes (n,), all 0;
    * gt_keypoints (n, K, 3) in continuous pixels of the image, with v = x = y = 0 where a keypoint is not
      labeled or outside the image;
    * gt_areas (n,), the annotated areas scaled with the image, also where a person is partly outside.

    Pseudo-boxes are made on the original image and then transformed and clipped as annotated boxes are, so a
    person whose keypoints are all outside the image may still have a box.
    """

    @configurable
    def __init__(
        self,
        *,
        labeled: bool,
        augmentations: list[T.Augmentation],
        skeleton: Skeleton,
        boxes: BoxRule,
        image_format: ImageFormat,
        max_pixels: int = MAX_PIXELS,
    ) -> None:
        """
        Args:
            labeled: whether samples have instances.
            augmentations: applied in their order, to RGB images.
            skeleton: defines which keypoints a flip swaps.
            boxes: chooses the boxes of persons.
            image_format: order of the sample's channels.
            max_pixels: as for :func:`posecore.data.images.read_image`.
        """
        self.labeled = labeled
        # The first step changes nothing: after it, annotations outside the original image are removed.
        self.augmentations = T.AugmentationList([T.NoOpTransform(), *augmentations]).augs
        self.skeleton = skeleton
        self._choose_boxes = boxes
        self.image_format = image_format
        self.max_pixels = max_pixels

    @classmethod
    def from_config(cls, cfg: CfgNode, is_train: bool = True) -> dict:
        """Reads INPUT and DATASETS.SKELETON.

        Args:
            cfg: the configuration.
            is_train: whether samples are augmented, and labeled unless ``labeled`` is given as well.
        """
        return {
            "labeled": is_train,
            "augmentations": build_augmentations(cfg, is_train),
            "skeleton": load_skeleton(cfg.DATASETS.SKELETON),
            "boxes": choice(cfg, "INPUT.BOXES", BOX_RULES),
            "image_format": choice(cfg, "INPUT.FORMAT", IMAGE_FORMATS),
            "max_pixels": pixel_limit(cfg),
        }

    def __call__(self, dataset_dict: dict) -> dict:
        """
        Raises:
            FileNotFoundError, ValueError: the image is missing, broken, of another size than stated in the
                dataset, or too thin for a resize; the message names it.
        """
        image = decode_rgb(dataset_dict, self.max_pixels)
        people = self._people(dataset_dict) if self.labeled else _no_people(self.skeleton)
        augmented = DeferredInput(image, people.boxes)
        for augmentation in self.augmentations:
            try:
                transform = augmentation(augmented)
            except EmptyImageError as error:
                raise ValueError(f"image {dataset_dict['file_name']}: {error}") from error
            # After each step, because a point outside the image must not come back by a later step.
            size = augmented.image.shape[:2]
            augmented.boxes = augmented.boxes.clip(0, size[::-1] * 2)
            people = People(
                self._move(people.keypoints, transform, size),
                augmented.boxes,
                people.areas * _growth(transform),
            )
        sample = {key: dataset_dict[key] for key in ("file_name", "image_id", "height", "width")}
        sample["image"] = as_tensor(augmented.image.array(), self.image_format)
        if self.labeled:
            sample["instances"] = _instances(people, augmented.image.shape[:2])
        return sample

    def transform_image(self, image: np.ndarray) -> torch.Tensor:
        """The image of a sample alone: (H, W, 3) uint8 RGB -> (3, H', W') after the augmentations."""
        augmented = DeferredInput(image)
        for augmentation in self.augmentations:
            augmentation(augmented)
        return as_tensor(augmented.image.array(), self.image_format)

    def _people(self, dataset_dict: dict) -> People:
        """The persons to train with, in the original image."""
        annotations = [person for person in dataset_dict["annotations"] if not person["iscrowd"]]
        if not annotations:
            return _no_people(self.skeleton)
        keypoints = np.array([person["keypoints"] for person in annotations], dtype=np.float64)
        boxes = [
            BoxMode.convert(person["bbox"], person["bbox_mode"], BoxMode.XYXY_ABS) for person in annotations
        ]
        people = People(
            keypoints.reshape(len(annotations), self.skeleton.num_keypoints, 3),
            np.array(boxes, dtype=np.float64),
            np.array([person["area"] for person in annotations], dtype=np.float64),
        )
        return self._choose_boxes(people, (dataset_dict["height"], dataset_dict["width"]))

    def _move(self, keypoints: np.ndarray, transform: T.Transform, size: tuple[int, int]) -> np.ndarray:
        """Transforms keypoints (n, K, 3) with the image, whose size is then (height, width)."""
        points = transform.apply_coords(keypoints[..., :2].reshape(-1, 2)).reshape(*keypoints.shape[:2], 2)
        inside = ((points >= 0) & (points < size[::-1])).all(axis=-1)
        labeled = inside & (keypoints[..., 2] > 0)
        moved = np.concatenate([points, keypoints[..., 2:]], axis=-1) * labeled[..., None]
        flips = sum(isinstance(step, T.HFlipTransform) for step in T.TransformList([transform]).transforms)
        return moved[:, list(self.skeleton.flip_indices)] if flips % 2 else moved


def as_tensor(image: np.ndarray, image_format: ImageFormat) -> torch.Tensor:
    """(H, W, 3) RGB -> (3, H, W), a copy with the channels in the order of ``image_format``."""
    ordered = image if image_format == "RGB" else image[:, :, ::-1]
    return torch.from_numpy(ordered.transpose(2, 0, 1).copy())


def read_rgb(dataset_dict: dict, max_pixels: int = MAX_PIXELS) -> np.ndarray:
    """The image of a dataset dict, (H, W, 3) uint8 (:func:`posecore.data.images.read_image`).

    Raises:
        FileNotFoundError, ValueError: it is missing, broken or of another size than stated in the dict.
    """
    return np.array(decode_rgb(dataset_dict, max_pixels))


def decode_rgb(dataset_dict: dict, max_pixels: int = MAX_PIXELS) -> Image.Image:
    """The same image as that of :func:`read_rgb`, as Pillow's."""
    file_name = dataset_dict["file_name"]
    image = decode_image(file_name, max_pixels)
    stated = dataset_dict["height"], dataset_dict["width"]
    if image.size != stated[::-1]:
        raise ValueError(
            f"image {file_name} is {image.width} wide and {image.height} high, "
            f"but its annotation says {stated[1]} and {stated[0]}"
        )
    return image


def _is_labeled(people: People) -> np.ndarray:
    """(n,) bool: which persons have labeled keypoints."""
    return np.any(people.keypoints[..., 2] > 0, axis=1)


def _pseudo_boxes(people: People, margin: float, image_size: tuple[int, int]) -> np.ndarray:
    return keypoint_boxes(torch.from_numpy(people.keypoints), margin, image_size).numpy()


def _no_people(skeleton: Skeleton) -> People:
    return People(np.zeros((0, skeleton.num_keypoints, 3)), np.zeros((0, 4)), np.zeros(0))


def _growth(transform: T.Transform) -> float:
    """The factor by which an affine transform changes areas."""
    corner, right, down = transform.apply_coords(np.array([[0.0, 0.0], [1.0, 0.0], [0.0, 1.0]]))
    return abs(np.linalg.det([right - corner, down - corner]))


def _instances(people: People, size: tuple[int, int]) -> Instances:
    """The persons of an image of this size; those whose box is empty are left out."""
    gt_boxes = Boxes(torch.from_numpy(people.boxes).float())
    instances = Instances(size)
    instances.gt_boxes = gt_boxes
    instances.gt_classes = torch.zeros(len(people.boxes), dtype=torch.int64)
    instances.gt_keypoints = Keypoints(torch.from_numpy(people.keypoints).float())
    instances.gt_areas = torch.from_numpy(people.areas).float()
    return instances[gt_boxes.nonempty()]
