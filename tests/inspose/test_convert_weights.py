"""The conversion of official InsPose checkpoints."""

from pathlib import Path

import pytest
import torch
from helpers.inspose_oracle import OFFICIAL, build, official_state
from torch import Tensor

from inspose.convert_weights import convert


@pytest.fixture(scope="module")
def state(shared: Path) -> dict[str, Tensor]:
    return official_state(shared)


def test_every_tensor_is_converted(state: dict[str, Tensor]) -> None:
    model = build(OFFICIAL)
    converted = convert(state)
    model.load_state_dict(converted)
    # The batch counts of frozen norms are dropped, and the five ranges of the relative coordinates are added.
    counts = sum("num_batches_tracked" in name for name in state) - 42
    assert sum(t.numel() for t in state.values()) - counts + 5 == sum(t.numel() for t in converted.values())


def test_missing_tensors_are_named(state: dict[str, Tensor]) -> None:
    name = "bbox_head.controller.weight"
    with pytest.raises(ValueError, match=f"lacks 1 tensors.*{name}"):
        convert({other: tensor for other, tensor in state.items() if other != name})


def test_unknown_tensors_are_named(state: dict[str, Tensor]) -> None:
    with pytest.raises(ValueError, match=r"1 tensors have names.*bbox_head\.conv_reg"):
        convert(state | {"bbox_head.conv_reg.weight": torch.zeros(1)})


def test_inputs_are_not_modified(state: dict[str, Tensor]) -> None:
    before = {name: tensor.clone() for name, tensor in state.items()}
    convert(state)
    assert state.keys() == before.keys()
    assert all(torch.equal(state[name], before[name]) for name in state)
