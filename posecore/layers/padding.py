"""Which cells of a feature map are padding of a batch of images: :func:`cell_padding`."""

import torch.nn.functional as F
from detectron2.structures import ImageList
from torch import Tensor


def cell_padding(images: ImageList, size: tuple[int, int]) -> Tensor:
    """(N, H, W) bool, True where a cell is padding.

    A cell is padding if the pixel at its upper left corner is: that of row i is i * height // H.

    Args:
        images: N images, padded to a common size.
        size: (H, W) of the feature map.
    """
    padding = images.tensor.new_ones(len(images), 1, *images.tensor.shape[2:])
    for mask, (height, width) in zip(padding, images.image_sizes, strict=True):
        mask[:, :height, :width] = 0
    return F.interpolate(padding, size, mode="nearest")[:, 0].bool()
