"""Mosaics: images made of four samples, with the persons of all (:class:`Mosaic`)."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from detectron2.config import CfgNode
from detectron2.structures import Boxes, Instances, Keypoints
from torch import Tensor
from torch.nn.functional import interpolate

# Samples of a mosaic.
NUM_PARTS = 4
# Where the four samples meet, in shares of the height and of the width.
CENTERS = (0.35, 0.65)


@dataclass(frozen=True)
class Mosaic:
    """Joins training samples of images to mosaics (YOLOv4, arXiv 2004.10934, section 3.3).

    Where each image of a dataset has one labeled person, a model never learns whose keypoints are whose;
    mosaics have several persons, who are smaller.

    Attributes:
        probability: that a sample becomes a mosaic.
    """

    probability: float

    @classmethod
    def from_config(cls, cfg: CfgNode) -> "Mosaic":
        """
        Raises:
            ValueError: INPUT.MOSAIC_PROB is no probability.
        """
        if not 0 <= cfg.INPUT.MOSAIC_PROB <= 1:
            raise ValueError(f"INPUT.MOSAIC_PROB must be from 0 to 1, not {cfg.INPUT.MOSAIC_PROB}")
        return cls(cfg.INPUT.MOSAIC_PROB)

    def draw(self, num_records: int) -> list[int]:
        """The records that join a sample, drawn by numpy's global generator; none where it stays alone."""
        if self.probability == 0 or np.random.rand() >= self.probability:
            return []
        return np.random.randint(num_records, size=NUM_PARTS - 1).tolist()

    def join(self, samples: Sequence[dict[str, Any]]) -> dict[str, Any]:
        """The mosaic of four samples; it has the size and the other entries of the first one.

        The samples lie around a point drawn by numpy's global generator, in reading order. Each is resized to
        the largest size that fits there and keeps its aspect ratio, and touches the point; the rest is black.

        Args:
            samples: with image, uint8 (3, H, W), and labeled instances
                (:class:`posecore.data.mapper.PoseMapper`); they are not modified.
        """
        height, width = samples[0]["image"].shape[1:]
        if min(height, width) < 2:  # too small for four images
            return samples[0]
        y, x = (
            int(np.clip(round(side * np.random.uniform(*CENTERS)), 1, side - 1)) for side in (height, width)
        )
        image = torch.zeros_like(samples[0]["image"])
        parts = []
        for number, sample in enumerate(samples):
            below, right = divmod(number, 2)
            pixels = _fitted(sample["image"], (height - y if below else y, width - x if right else x))
            rows, columns = pixels.shape[1:]
            top, left = (y if below else y - rows), (x if right else x - columns)
            image[:, top : top + rows, left : left + columns] = pixels
            part = sample["instances"]
            scale = torch.tensor([columns / part.image_size[1], rows / part.image_size[0]])
            parts.append(_moved(part, scale, torch.tensor([left, top]), (height, width)))
        return samples[0] | {"image": image, "instances": Instances.cat(parts)}


def _fitted(image: Tensor, room: tuple[int, int]) -> Tensor:
    """The image, uint8 (3, H, W), at the largest size that fits into (height, width) in its aspect ratio."""
    height, width = image.shape[1:]
    factor = min(room[0] / height, room[1] / width)
    size = max(1, int(height * factor)), max(1, int(width * factor))
    pixels = interpolate(image[None].float(), size, mode="bilinear", align_corners=False, antialias=True)
    return pixels[0].round().clamp(0, 255).to(torch.uint8)


def _moved(instances: Instances, scale: Tensor, corner: Tensor, size: tuple[int, int]) -> Instances:
    """The instances where their image has been resized and lies in another one of (height, width).

    Args:
        scale: (2,) float32, of x and of y.
        corner: (2,), x and y of the image's corner in the other one.
    """
    fields = instances.get_fields()
    keypoints = fields["gt_keypoints"].tensor
    points, visibility = keypoints[..., :2], keypoints[..., 2:]
    moved = {
        "gt_boxes": Boxes(fields["gt_boxes"].tensor * scale.repeat(2) + corner.repeat(2)),
        "gt_keypoints": Keypoints(
            torch.cat([torch.where(visibility > 0, points * scale + corner, points), visibility], dim=-1)
        ),
        "gt_areas": fields["gt_areas"] * scale.prod(),
    }
    return Instances(size, **(fields | moved))
