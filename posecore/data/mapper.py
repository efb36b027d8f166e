"""From a dataset dict to what models take: read, augment, make instances."""

from dataclasses import dataclass, replace

import numpy as np
import torch
from detectron2.config import CfgNode, configurable
from detectron2.data import detection_utils
from detectron2.data import transforms as T
from detectron2.structures import Boxes, BoxMode, Instances, Keypoints

from posecore.data.augment import build_augmentations
from posecore.structures.boxes import keypoint_boxes
from posecore.structures.skeleton import Skeleton, load_skeleton

# Pixels that pseudo-boxes are wider than their keypoints on each side, as DirectPose's authors have it.
MARGIN = 1.0
# The same by the value of INPUT.BOXES; InsPose's authors have none.
MARGINS = {"keypoints": MARGIN, "keypoints_or_annotated": 0.0}
# The least width and height of a person's box without a margin, pixels of the original image.
LEAST_SIDE = 1.0


@dataclass(frozen=True)
class People:
    """The n persons of an image that are trained with.

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


class PoseMapper:
    """Reads an image and makes a sample of it; takes and returns a dict, and changes nothing of the first.

    The sample has image, a uint8 tensor (3, H, W); file_name, image_id, height and width as the dataset
    has them; where it is labeled, as for training, also instances with the n persons that are no crowd:
    gt_boxes (n, 4), gt_classes (n,), all 0, gt_keypoints (n, K, 3) in continuous pixels of the image, v = 0
    and x = y = 0 where a keypoint is not labeled or has left the image, and gt_areas (n,), the annotated
    areas as the resize changes them, whatever of the person has left the image. n may be 0.

    Pseudo-boxes are made on the original image and then transformed and cut as annotated boxes are,
    so a person whose keypoints have all left the image may still have a box.
    """

    @configurable
    def __init__(
        self,
        *,
        labeled: bool,
        augmentations: list[T.Augmentation],
        skeleton: Skeleton,
        boxes: str,
        image_format: str,
    ) -> None:
        """
        Args:
            labeled: whether samples get instances.
            augmentations: applied in their order, to RGB images.
            skeleton: tells how a flip swaps the keypoints.
            boxes: "keypoints" for pseudo-boxes (persons without labeled keypoints are left out),
                "annotated" for those of the dataset, or "keypoints_or_annotated" for pseudo-boxes that are
                no wider than the keypoints, and annotated ones for persons without (persons without an area
                are left out, and boxes of less than a pixel).
            image_format: order of the sample's channels, "BGR" or "RGB".
        """
        if boxes not in (*MARGINS, "annotated"):
            raise ValueError(
                f"INPUT.BOXES must be 'keypoints', 'annotated' or 'keypoints_or_annotated', not '{boxes}'"
            )
        if image_format not in ("BGR", "RGB"):
            raise ValueError(f"INPUT.FORMAT must be 'BGR' or 'RGB', not '{image_format}'")
        self.labeled = labeled
        # The first step changes nothing; it is for annotations that lie outside from the start.
        self.augmentations = T.AugmentationList([T.NoOpTransform(), *augmentations]).augs
        self.skeleton = skeleton
        self.boxes = boxes
        self.image_format = image_format

    @classmethod
    def from_config(cls, cfg: CfgNode, is_train: bool = True) -> dict:
        """Reads INPUT and DATASETS.SKELETON.

        Args:
            is_train: whether images are augmented and labeled; ``labeled`` can be given beside it.
        """
        return {
            "labeled": is_train,
            "augmentations": build_augmentations(cfg, is_train),
            "skeleton": load_skeleton(cfg.DATASETS.SKELETON),
            "boxes": cfg.INPUT.BOXES,
            "image_format": cfg.INPUT.FORMAT,
        }

    def __call__(self, dataset_dict: dict) -> dict:
        """
        Raises:
            FileNotFoundError, ValueError: the image is missing, broken or of another size than the
                dataset says; the message names it.
        """
        augmented = T.AugInput(read_rgb(dataset_dict))
        people = self._people(dataset_dict) if self.labeled else _nobody(self.skeleton)
        augmented.boxes = people.boxes
        for augmentation in self.augmentations:
            transform = augmentation(augmented)
            # After each step, since what has left the image must not return with the next.
            size = augmented.image.shape[:2]
            augmented.boxes = augmented.boxes.clip(0, size[::-1] * 2)
            people = People(
                self._move(people.keypoints, transform, size),
                augmented.boxes,
                people.areas * _growth(transform),
            )
        sample = {key: dataset_dict[key] for key in ("file_name", "image_id", "height", "width")}
        sample["image"] = as_tensor(augmented.image, self.image_format)
        if self.labeled:
            sample["instances"] = _instances(people, augmented.image.shape[:2])
        return sample

    def _people(self, dataset_dict: dict) -> People:
        """The persons to train with, on the original image."""
        annotations = [person for person in dataset_dict["annotations"] if not person["iscrowd"]]
        if not annotations:
            return _nobody(self.skeleton)
        keypoints = np.array([person["keypoints"] for person in annotations], dtype=np.float64)
        boxes = [
            BoxMode.convert(person["bbox"], person["bbox_mode"], BoxMode.XYXY_ABS) for person in annotations
        ]
        people = People(
            keypoints.reshape(len(annotations), self.skeleton.num_keypoints, 3),
            np.array(boxes, dtype=np.float64),
            np.array([person["area"] for person in annotations], dtype=np.float64),
        )
        if self.boxes == "annotated":
            return people
        size = dataset_dict["height"], dataset_dict["width"]
        pseudo = keypoint_boxes(torch.from_numpy(people.keypoints), MARGINS[self.boxes], size).numpy()
        labeled: np.ndarray = np.any(people.keypoints[..., 2] > 0, axis=1)
        if self.boxes == "keypoints":
            return replace(people, boxes=pseudo)[labeled]
        people = replace(people, boxes=np.where(labeled[:, None], pseudo, people.boxes))
        sides = people.boxes[:, 2:] - people.boxes[:, :2]
        return people[(sides >= LEAST_SIDE).all(axis=1) & (people.areas > 0)]

    def _move(self, keypoints: np.ndarray, transform: T.Transform, size: tuple[int, int]) -> np.ndarray:
        """(n, K, 3) -> (n, K, 3): moved with the image, which is of this size afterwards."""
        points = transform.apply_coords(keypoints[..., :2].reshape(-1, 2)).reshape(*keypoints.shape[:2], 2)
        inside = ((points >= 0) & (points < size[::-1])).all(axis=-1)
        labeled = inside & (keypoints[..., 2] > 0)
        moved = np.concatenate([points, keypoints[..., 2:]], axis=-1) * labeled[..., None]
        flips = sum(isinstance(step, T.HFlipTransform) for step in T.TransformList([transform]).transforms)
        return moved[:, list(self.skeleton.flip_indices)] if flips % 2 else moved


def as_tensor(image: np.ndarray, image_format: str) -> torch.Tensor:
    """(H, W, 3) RGB -> (3, H, W), a copy with the channels in the order "RGB" or "BGR"."""
    ordered = image if image_format == "RGB" else image[:, :, ::-1]
    return torch.from_numpy(ordered.transpose(2, 0, 1).copy())


def read_rgb(dataset_dict: dict) -> np.ndarray:
    """The image of a dataset dict, (H, W, 3) uint8.

    Raises:
        FileNotFoundError, ValueError: it is missing, broken or of another size than the dict says.
    """
    file_name = dataset_dict["file_name"]
    try:
        image = detection_utils.read_image(file_name, "RGB")
    except FileNotFoundError as error:
        raise FileNotFoundError(f"image {file_name} does not exist") from error
    except (OSError, SyntaxError, ValueError) as error:  # what Pillow raises at broken files
        raise ValueError(f"image {file_name} cannot be read: {error}") from error
    stated = dataset_dict["height"], dataset_dict["width"]
    if image.shape[:2] != stated:
        raise ValueError(
            f"image {file_name} is {image.shape[1]} wide and {image.shape[0]} high, "
            f"but its annotation says {stated[1]} and {stated[0]}"
        )
    return image


def _nobody(skeleton: Skeleton) -> People:
    return People(np.zeros((0, skeleton.num_keypoints, 3)), np.zeros((0, 4)), np.zeros(0))


def _growth(transform: T.Transform) -> float:
    """By how much a transform that keeps lines straight enlarges areas."""
    corner, right, down = transform.apply_coords(np.array([[0.0, 0.0], [1.0, 0.0], [0.0, 1.0]]))
    return abs(np.linalg.det([right - corner, down - corner]))


def _instances(people: People, size: tuple[int, int]) -> Instances:
    """The persons of an image of that size; those without a box vanish."""
    gt_boxes = Boxes(torch.from_numpy(people.boxes).float())
    instances = Instances(size)
    instances.gt_boxes = gt_boxes
    instances.gt_classes = torch.zeros(len(people.boxes), dtype=torch.int64)
    instances.gt_keypoints = Keypoints(torch.from_numpy(people.keypoints).float())
    instances.gt_areas = torch.from_numpy(people.areas).float()
    return instances[gt_boxes.nonempty()]
