"""What each conversion of official weights must do, as functions that the tests of the methods call."""

from collections.abc import Callable

import pytest
import torch
from torch import Tensor

Convert = Callable[[dict[str, Tensor]], dict[str, Tensor]]


def wrong_names_are_named(convert: Convert, state: dict[str, Tensor], missing: str, unknown: str) -> None:
    """Checkpoints without the tensor ``missing`` and with the tensor ``unknown`` are errors that name it."""
    with pytest.raises(ValueError, match=f"lacks 1 tensors.*{missing}"):
        convert({name: tensor for name, tensor in state.items() if name != missing})
    with pytest.raises(ValueError, match=f"1 tensors have names.*{unknown}"):
        convert(state | {unknown: torch.zeros(1)})


def inputs_are_not_modified(convert: Convert, state: dict[str, Tensor]) -> None:
    before = {name: tensor.clone() for name, tensor in state.items()}
    convert(state)
    assert state.keys() == before.keys()
    assert all(torch.equal(state[name], before[name]) for name in state)
