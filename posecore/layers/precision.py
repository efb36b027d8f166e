"""Half precision by autocast, and full precision within it: :func:`autocast_to`, :func:`full_precision`."""

from contextlib import AbstractContextManager, nullcontext

import torch
from torch import Tensor, nn

# The values of keys that name a precision: the type of autocast, None for no autocast.
PRECISIONS: dict[str, torch.dtype | None] = {
    "float32": None,
    "bfloat16": torch.bfloat16,
    "float16": torch.float16,
}


def autocast_to(dtype: torch.dtype | None, model: nn.Module) -> AbstractContextManager:
    """A context in which a model computes in a half-precision type by autocast; None for no change."""
    if dtype is None:
        return nullcontext()
    return torch.autocast(next(model.parameters()).device.type, dtype=dtype)


def full_precision(values: Tensor) -> Tensor:
    """Casts values of a half-precision type to float32; others are returned as they are.

    Positions, scores and losses need this under autocast: bfloat16 has a precision of eight bits, so that
    neighboring values near 300 pixels differ by two pixels.
    """
    return values.to(torch.promote_types(values.dtype, torch.float32))
