"""Made-up samples of person crops."""

from typing import Any

import torch
from detectron2.structures import Boxes, Instances, Keypoints

SIZE = (64, 48)


def crop(seed: int, visible: bool = True, num_keypoints: int = 17) -> dict[str, Any]:
    """A training sample: a crop of noise with random keypoints, some of which are not labeled.

    Args:
        seed: seed of the random numbers.
        visible: whether any keypoint is labeled.
        num_keypoints: K.
    """
    rng = torch.Generator().manual_seed(seed)
    height, width = SIZE
    points = torch.rand(num_keypoints, 2, generator=rng) * torch.tensor([width, height])
    labels = torch.randint(0, 3, (num_keypoints, 1), generator=rng) * visible
    return image(seed, 1) | {
        "instances": Instances(
            SIZE,
            gt_boxes=Boxes(torch.tensor([[4.0, 4.0, 40.0, 60.0]])),
            gt_classes=torch.zeros(1, dtype=torch.int64),
            gt_keypoints=Keypoints(torch.cat([points * (labels > 0), labels.float()], dim=1)[None]),
        )
    }


def image(seed: int, num_people: int) -> dict[str, Any]:
    """The inputs for an image of 100 x 120: the crops of its persons, whose boxes are 30 x 40."""
    rng = torch.Generator().manual_seed(seed)
    corners = torch.rand(num_people, 2, generator=rng) * torch.tensor([90.0, 60.0])
    scale = torch.tensor([40 / SIZE[1], 55 / SIZE[0]])
    affine = torch.cat([torch.diag(scale).expand(num_people, 2, 2), corners[..., None]], dim=2)
    return {
        "crops": torch.randint(0, 256, (num_people, 3, *SIZE), dtype=torch.uint8, generator=rng),
        "crop_to_image": affine,
        "boxes": torch.cat([corners, corners + torch.tensor([30.0, 40.0])], dim=1),
        "box_scores": torch.rand(num_people, generator=rng),
        "height": 100,
        "width": 120,
        "file_name": f"image{seed}.jpg",
    }
