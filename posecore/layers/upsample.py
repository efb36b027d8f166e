"""Upsampling that keeps the positions of a map's cells on the image: :func:`aligned_upsample`."""

import torch.nn.functional as F
from torch import Tensor


def aligned_upsample(maps: Tensor, factor: int) -> Tensor:
    """Bilinear upsampling as in AdelaiDet ("aligned bilinear").

    Cell j of the input is exactly cell factor * j + factor // 2 of the output. Cells between are
    interpolated; cells before the first and after the last repeat these.

    Args:
        maps: (N, C, H, W).
        factor: an integer, at least 1.

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
