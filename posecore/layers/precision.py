"""Which numbers must not be rounded to half precision."""

import torch
from torch import Tensor


def full_precision(values: Tensor) -> Tensor:
    """The same in float32 where it is of a half-precision type, else as it is.

    Positions, scores and losses are computed with this under autocast: bfloat16 has eight bits, which for
    a keypoint 300 pixels away leaves steps of two pixels.
    """
    return values.to(torch.promote_types(values.dtype, torch.float32))
