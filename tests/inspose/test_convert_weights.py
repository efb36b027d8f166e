"""The conversion of official InsPose checkpoints."""

from pathlib import Path

import pytest
from helpers import converting as contract
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


def test_wrong_names_are_named(state: dict[str, Tensor]) -> None:
    contract.wrong_names_are_named(convert, state, "bbox_head.controller.weight", "bbox_head.conv_reg.weight")


def test_inputs_are_not_modified(state: dict[str, Tensor]) -> None:
    contract.inputs_are_not_modified(convert, state)
