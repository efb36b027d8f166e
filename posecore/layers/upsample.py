"""Enlarging feature maps so that their cells stay where they are on the image."""

import torch.nn.functional as F
from torch import Tensor


def aligned_upsample(maps: Tensor, factor: int) -> Tensor:
    """Bilinear enlargement as AdelaiDet has it ("aligned bilinear").

    Cell j of the input becomes cell factor * j + factor // 2 of the output, exactly; cells between are
    interpolated, cells beyond the first and the last repeat them.

    Args:
        maps: (N, C, H, W).
        factor: how many times larger, at least 1.

    Returns:
        (N, C, factor * H, factor * W).
    """
    if factor == 1:
        return maps
    height, width = maps.shape[2:]
    maps = F.pad(maps, (0, 1, 0, 1), mode="replicate")
    size = (factor * height + 1, factor * width + 1)
    maps = F.interpolate(maps, size, mode="bilinear", align_corners=True)
    maps = F.pad(maps, (factor // 2, 0, factor // 2, 0), mode="replicate")
    return maps[:, :, : factor * height, : factor * width]
