"""Made-up training samples of whole images."""

from typing import Any

import torch
from detectron2.structures import Boxes, Instances, Keypoints


def sample(
    seed: int, num_people: int, size: tuple[int, int] = (96, 128), num_keypoints: int = 17
) -> dict[str, Any]:
    """One image of noise with persons at random positions; some keypoints are not labeled.

    Args:
        seed: seed of the random numbers.
        num_people: number of persons.
        size: (height, width).
        num_keypoints: K.
    """
    rng = torch.Generator().manual_seed(seed)
    height, width = size
    low = torch.rand(num_people, 2, generator=rng) * torch.tensor([width, height]) * 0.5
    extent = torch.tensor([width, height]) * (0.2 + 0.3 * torch.rand(num_people, 2, generator=rng))
    points = low[:, None] + torch.rand(num_people, num_keypoints, 2, generator=rng) * extent[:, None]
    visible = torch.randint(0, 3, (num_people, num_keypoints, 1), generator=rng)
    return {
        "image": torch.randint(0, 256, (3, height, width), dtype=torch.uint8, generator=rng),
        "file_name": f"image{seed}.jpg",
        "instances": Instances(
            size,
            gt_boxes=Boxes(torch.cat([low, low + extent], dim=1)),
            gt_classes=torch.zeros(num_people, dtype=torch.int64),
            gt_keypoints=Keypoints(torch.cat([points, visible.float()], dim=2)),
        ),
    }
