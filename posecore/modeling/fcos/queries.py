"""Which locations of which images something is predicted at, where it need not be everywhere."""

from dataclasses import dataclass

import torch
from torch import Tensor


@dataclass(frozen=True)
class Queries:
    """Q chosen locations of a batch: the positives in training, the candidates at test time.

    Attributes:
        images: (Q,) int64 index of the image.
        index: (Q,) int64 index into the R locations.
    """

    images: Tensor
    index: Tensor

    def __len__(self) -> int:
        return len(self.index)

    def in_image(self, num_images: int) -> list[slice]:
        """Where the queries of each image are, if they come image by image."""
        ends = self.images.bincount(minlength=num_images).cumsum(0).tolist()
        return [slice(start, end) for start, end in zip([0, *ends], ends, strict=False)]

    @classmethod
    def everywhere(cls, num_images: int, num_locations: int, device: torch.device | str = "cpu") -> "Queries":
        """All N * R locations, image by image: the dense prediction."""
        images = torch.arange(num_images, device=device).repeat_interleave(num_locations)
        return cls(images, torch.arange(num_locations, device=device).repeat(num_images))
