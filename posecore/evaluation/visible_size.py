"""How large a model sees the persons of a dataset: :func:`visible_size`."""

from dataclasses import dataclass

import numpy as np
from detectron2.config import CfgNode
from detectron2.modeling import build_backbone

from posecore.config.options import choice
from posecore.data.samples import SAMPLES

# A person of fewer cells of the finest map than this, in the longer side, has hardly a location of its own.
MIN_CELLS = 2


@dataclass(frozen=True)
class VisibleSize:
    """The least size of persons that a model of whole images can see.

    Attributes:
        stride: of the finest map of the backbone, pixels of the resized image.
        min_side: INPUT.MIN_SIZE_TEST, to which the shorter side of an image is resized; 0 for no resize.
        max_side: INPUT.MAX_SIZE_TEST.
    """

    stride: int
    min_side: int
    max_side: int

    @property
    def least(self) -> int:
        """The least longer side of a person in the resized image, pixels."""
        return MIN_CELLS * self.stride

    def sides(self, boxes: np.ndarray, image_sizes: np.ndarray) -> np.ndarray:
        """The longer sides of boxes in the resized images.

        Args:
            boxes: (n, 4), x, y, width, height.
            image_sizes: (n, 2), width and height.

        Returns:
            (n,), pixels.
        """
        return boxes[:, 2:].max(axis=1, initial=0) * self._scales(image_sizes)

    def _scales(self, image_sizes: np.ndarray) -> np.ndarray:
        if not self.min_side:
            return np.ones(len(image_sizes))
        return np.minimum(self.min_side / image_sizes.min(axis=1), self.max_side / image_sizes.max(axis=1))


def visible_size(cfg: CfgNode) -> VisibleSize | None:
    """The least visible size of a configuration.

    Returns:
        None where the model takes crops of persons (INPUT.SAMPLES), which make all persons equally large.

    Raises:
        ValueError: INPUT.SAMPLES or MODEL.BACKBONE.NAME is not known.
    """
    if choice(cfg, "INPUT.SAMPLES", SAMPLES).needs_boxes:
        return None
    strides = [shape.stride for shape in build_backbone(cfg).output_shape().values() if shape.stride]
    return VisibleSize(min(strides), int(cfg.INPUT.MIN_SIZE_TEST), int(cfg.INPUT.MAX_SIZE_TEST))
