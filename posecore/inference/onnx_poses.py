"""The poses and the boxes of the persons of an image as numpy arrays: :class:`Poses`.

Letters: M persons, K keypoints.
"""

from dataclasses import dataclass
from typing import Protocol

import numpy as np


@dataclass(frozen=True)
class Poses:
    """The M detections of one image, in its pixels; the fields have the names of Detectron2's ``Instances``.

    Attributes:
        image_size: (height, width) of the image.
        pred_boxes: (M, 4) float32, (x1, y1, x2, y2).
        scores: (M,) float32.
        pred_classes: (M,) int64, 0 for a person.
        pred_keypoints: (M, K, 3) float32, x, y and confidence.
    """

    image_size: tuple[int, int]
    pred_boxes: np.ndarray
    scores: np.ndarray
    pred_classes: np.ndarray
    pred_keypoints: np.ndarray

    def __len__(self) -> int:
        return len(self.scores)

    def __getitem__(self, rows: np.ndarray | slice) -> "Poses":
        return Poses(
            self.image_size,
            self.pred_boxes[rows],
            self.scores[rows],
            self.pred_classes[rows],
            self.pred_keypoints[rows],
        )


class ScoredBoxes(Protocol):
    """The boxes of the M persons of an image, as :class:`posecore.data.person_boxes.PersonBoxes` has them."""

    @property
    def boxes(self) -> np.ndarray:
        """(M, 4) corners in continuous pixels."""

    @property
    def scores(self) -> np.ndarray:
        """(M,)."""


@dataclass(frozen=True)
class DetectedBoxes:
    """The boxes of the M persons of an image.

    Attributes:
        boxes: (M, 4) corners in continuous pixels.
        scores: (M,).
    """

    boxes: np.ndarray
    scores: np.ndarray


def oks_nms(
    poses: np.ndarray, scores: np.ndarray, areas: np.ndarray, sigmas: np.ndarray, threshold: float
) -> np.ndarray:
    """:func:`posecore.structures.oks.oks_nms` in numpy: greedy suppression by OKS.

    Arguments and result are the same as there, in arrays instead of tensors: poses (M, K, 2), scores (M,),
    areas (M,) and sigmas (K,) give the indices of the kept poses, best first.
    """
    order = np.argsort(-scores, kind="stable")
    kept: list[int] = []
    while len(order):
        best, order = order[0], order[1:]
        kept.append(int(best))
        squared = np.square(poses[order] - poses[best]).sum(axis=-1)
        area = (areas[order] + areas[best]) / 2
        scale = 2 * np.square(2 * sigmas) * (area[:, None] + np.finfo(np.float64).eps)
        order = order[~(np.exp(-squared / scale).mean(axis=-1) > threshold)]
    return np.array(kept, dtype=np.int64)
