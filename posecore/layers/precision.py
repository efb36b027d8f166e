"""Full precision under autocast: :func:`full_precision`."""

import torch
from torch import Tensor


def full_precision(values: Tensor) -> Tensor:
    """Casts values of a half-precision type to float32; others are returned as they are.

    Positions, scores and losses need this under autocast: bfloat16 has a precision of eight bits, so that
    neighboring values near 300 pixels differ by two pixels.
    """
    return values.to(torch.promote_types(values.dtype, torch.float32))
