"""Prepares images or crops for an exported model: :class:`ImageInput` and :class:`CropInput`.

They also bring the model's poses back to the images.

Letters: N images or crops, M persons, K keypoints, H and W height and width, h and w those of a crop.
"""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np

from posecore.inference.onnx_poses import Poses, ScoredBoxes, oks_nms
from posecore.inference.resize import resize_bilinear, resized_size
from posecore.structures.crops import CropGeometry, usable_boxes


@dataclass(frozen=True)
class ImageInput:
    """How whole images are prepared for a model, and its poses are brought back to them.

    Normalizing is in the model.

    Attributes:
        min_size: pixels of the shorter side after the resize, INPUT.MIN_SIZE_TEST; 0 for no resize.
        max_size: the most pixels of the longer side.
        rounding: how the longer side is rounded, INPUT.RESIZE_ROUNDING.
        channels: order of the channels that the model takes, "BGR" or "RGB".
        divisibility: number that height and width of a batch must be multiples of.
        shift: pixels of the original image that keypoints are moved right and down by in the end.
    """

    min_size: int
    max_size: int
    rounding: Literal["nearest", "down"]
    channels: Literal["BGR", "RGB"]
    divisibility: int
    shift: float = 0.0

    def sample(self, image: np.ndarray) -> dict[str, Any]:
        """(H, W, 3) uint8 RGB -> the resized ``image`` (3, H', W'), and ``height`` and ``width``.

        Raises:
            ValueError: the resize would leave no pixels of the image.
        """
        height, width = image.shape[:2]
        size = resized_size((height, width), self.min_size, self.max_size, self.rounding)
        if min(size) < 1:
            raise ValueError(
                f"an image of {width} x {height} pixels is too thin: resized it would have "
                f"{size[1]} x {size[0]}"
            )
        return {
            "image": channels_first(resize_bilinear(image, size), self.channels),
            "height": height,
            "width": width,
        }

    def inputs(self, samples: Sequence[Mapping[str, Any]]) -> dict[str, np.ndarray]:
        """The samples of N images -> the model's ``images`` (N, 3, H, W) uint8 and ``sizes`` (N, 2) int64.

        Images are padded to a common size at the right and bottom; ``sizes`` are height and width before.
        """
        sizes = np.array([sample["image"].shape[1:] for sample in samples], dtype=np.int64)
        height, width = -(-sizes.max(axis=0) // self.divisibility) * self.divisibility
        images = np.zeros((len(samples), 3, height, width), dtype=np.uint8)
        for padded, sample in zip(images, samples, strict=True):
            own = sample["image"]
            padded[:, : own.shape[1], : own.shape[2]] = own
        return {"images": images, "sizes": sizes}

    def poses(self, outputs: Mapping[str, np.ndarray], samples: Sequence[Mapping[str, Any]]) -> list[Poses]:
        """The poses of N images, from the outputs of the model for their samples."""
        results = []
        for index, sample in enumerate(samples):
            rows = outputs["valid"][index]
            size = sample["image"].shape[1:]
            original = sample.get("height", size[0]), sample.get("width", size[1])
            factors = np.array([original[1] / size[1], original[0] / size[0]], dtype=np.float32)
            keypoints = outputs["keypoints"][index][rows].astype(np.float32)
            keypoints[..., :2] = keypoints[..., :2] * factors + np.float32(self.shift)
            limits = np.array([*original[::-1], *original[::-1]], dtype=np.float32)
            boxes = (outputs["boxes"][index][rows] * np.tile(factors, 2)).clip(0, limits)
            results.append(
                Poses(
                    (int(original[0]), int(original[1])),
                    boxes,
                    outputs["scores"][index][rows],
                    outputs["classes"][index][rows],
                    keypoints,
                )
            )
        return results


@dataclass(frozen=True)
class CropInput:
    """How crops of persons are cut for a model, and its poses are brought back to the image.

    Attributes:
        geometry: how crops are cut.
        channels: order of the channels that the model takes, "BGR" or "RGB".
        min_score: boxes with a lower score are not cut out.
        sigmas: (K,) of the skeleton.
        oks_nms_thresh: OKS above which the pose with the lower score is removed; from 1 on none is.
    """

    geometry: CropGeometry
    channels: Literal["BGR", "RGB"]
    min_score: float
    sigmas: tuple[float, ...]
    oks_nms_thresh: float

    def sample(self, image: np.ndarray, boxes: ScoredBoxes) -> dict[str, Any]:
        """The crops of an image (H, W, 3) uint8 RGB.

        Returns:
            ``crops`` (M, 3, h, w) uint8, ``crop_to_image`` (M, 2, 3), ``boxes`` (M, 4), ``box_scores`` (M,),
            ``height`` and ``width``.
        """
        kept = usable_boxes(boxes.boxes, boxes.scores, self.min_score)
        regions = [self.geometry.region(box) for box in boxes.boxes[kept]]
        crops = [channels_first(self.geometry.cut(image, region), self.channels) for region in regions]
        affines = [self.geometry.crop_to_image(region) for region in regions]
        return {
            "crops": np.array(crops, dtype=np.uint8).reshape(-1, 3, *self.geometry.size),
            "crop_to_image": np.array(affines, dtype=np.float32).reshape(-1, 2, 3),
            "boxes": boxes.boxes[kept].astype(np.float32),
            "box_scores": boxes.scores[kept].astype(np.float32),
            "height": image.shape[0],
            "width": image.shape[1],
        }

    def inputs(self, samples: Sequence[Mapping[str, Any]]) -> dict[str, np.ndarray]:
        """The samples of images -> the model's ``crops`` (M, 3, h, w) and ``box_scores`` (M,) of all."""
        return {
            "crops": np.concatenate([sample["crops"] for sample in samples]),
            "box_scores": np.concatenate([sample["box_scores"] for sample in samples]),
        }

    def no_outputs(self) -> dict[str, np.ndarray]:
        """The outputs of the model for no crop, which runtimes need not be able to compute."""
        keypoints = np.zeros((0, len(self.sigmas), 3), dtype=np.float32)
        return {"keypoints": keypoints, "scores": np.zeros(0, dtype=np.float32)}

    def poses(self, outputs: Mapping[str, np.ndarray], samples: Sequence[Mapping[str, Any]]) -> list[Poses]:
        """The poses of each image, best first, without duplicates."""
        ends = np.cumsum([len(sample["crops"]) for sample in samples])
        parts = zip(
            np.split(outputs["keypoints"], ends[:-1]), np.split(outputs["scores"], ends[:-1]), strict=True
        )
        return [
            self._in_image(keypoints, scores, sample)
            for (keypoints, scores), sample in zip(parts, samples, strict=True)
        ]

    def _in_image(self, keypoints: np.ndarray, scores: np.ndarray, sample: Mapping[str, Any]) -> Poses:
        """The poses of one image from keypoints (M, K, 3) in crops and scores (M,)."""
        linear, shift = sample["crop_to_image"][:, :, :2], sample["crop_to_image"][:, :, 2]
        points = keypoints[..., :2] @ linear.transpose(0, 2, 1) + shift[:, None]
        areas = np.abs(np.linalg.det(linear)) * math.prod(self.geometry.size)
        kept = oks_nms(points, scores, areas, np.array(self.sigmas), self.oks_nms_thresh)
        return Poses(
            (int(sample["height"]), int(sample["width"])),
            sample["boxes"][kept],
            scores[kept],
            np.zeros(len(kept), dtype=np.int64),
            np.concatenate([points, keypoints[..., 2:]], axis=-1)[kept].astype(np.float32),
        )


def channels_first(image: np.ndarray, channels: str) -> np.ndarray:
    """(H, W, 3) RGB -> (3, H, W) in the order that ``channels`` names, "BGR" or "RGB"."""
    ordered = image[:, :, ::-1] if channels == "BGR" else image
    return np.ascontiguousarray(ordered.transpose(2, 0, 1))
