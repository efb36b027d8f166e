"""What is read from the ground-truth ``Instances`` of a batch."""

from collections.abc import Sequence

from detectron2.structures import Instances
from torch import Tensor


def keypoint_tensors(targets: Sequence[Instances], num_keypoints: int) -> list[Tensor]:
    """The keypoints of each image, also of images without persons, whose ``gt_keypoints`` may be missing.

    Args:
        targets: per image gt_boxes, and gt_keypoints where it has G > 0 persons.
        num_keypoints: K.

    Returns:
        Per image (G, K, 3): x and y in pixels, and COCO's visibility flag.
    """
    return [
        target.gt_keypoints.tensor if len(target) else target.gt_boxes.tensor.new_zeros(0, num_keypoints, 3)
        for target in targets
    ]
