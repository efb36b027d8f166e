"""Registrations that all operators share: types under autocast, and the error of a second backward."""

from collections.abc import Callable, Collection

import torch
from torch import Tensor

_library = torch.library.Library("posecore", "IMPL")


def register_autocast(name: str, precise: Collection[int]) -> None:
    """Registers the types of an operator's arguments under autocast.

    The first argument, the values, is cast to autocast's type, and the arguments at ``precise`` to float32.
    If the values are float64, nothing is cast. ``torch.library.register_autocast`` cannot be used, because it
    would cast the points to half precision as well.

    Args:
        name: of the operator, without namespace.
        precise: positions of the arguments that are cast to float32.
    """
    operator = getattr(torch.ops.posecore, name)

    def kernel(device: str) -> Callable[..., Tensor]:
        def call(value: Tensor, *others: object) -> Tensor:
            if value.is_floating_point() and value.dtype != torch.float64:
                value = value.to(torch.get_autocast_dtype(device))
                others = tuple(
                    other.float() if position in precise and isinstance(other, Tensor) else other
                    for position, other in enumerate(others, start=1)
                )
            with torch.autocast(device, enabled=False):
                return operator(value, *others)

        return call

    _library.impl(name, kernel("cpu"), "AutocastCPU")
    _library.impl(name, kernel("cuda"), "AutocastCUDA")


def refuse_second_backward(name: str, *gradients: str) -> None:
    """Makes it an error to differentiate the gradient operators of operator ``name``."""

    def backward(ctx, *grads: Tensor):
        raise RuntimeError(f"{name} cannot be differentiated twice: its gradients have no gradient")

    for gradient in gradients:
        torch.library.register_autograd(f"posecore::{gradient}", backward)
