"""The conversion of official FCPose checkpoints."""

import json
from pathlib import Path

import pytest
import torch
from helpers import converting as contract
from helpers.fcpose_oracle import build, official_state
from torch import Tensor

from fcpose.convert_weights import convert


@pytest.fixture(scope="module")
def state(shared: Path) -> dict[str, Tensor]:
    case = json.loads((shared / "oracles/fcpose/case_a/case.json").read_text())
    return official_state(shared, case)


def test_every_tensor_is_converted(state: dict[str, Tensor]) -> None:
    model = build("official/R_50_3x.yaml")
    model.load_state_dict(convert(state))
    assert sum(tensor.numel() for tensor in convert(state).values()) == sum(t.numel() for t in state.values())


def test_constants_of_older_checkpoints_are_left_out(state: dict[str, Tensor]) -> None:
    old = state | {"pixel_mean": torch.zeros(3, 1, 1), "pixel_std": torch.ones(3, 1, 1)}
    assert convert(old).keys() == convert(state).keys()


def test_wrong_names_are_named(state: dict[str, Tensor]) -> None:
    missing = "proposal_generator.fcpose_head.atten_producer.weight"
    contract.wrong_names_are_named(convert, state, missing, "roi_heads.weight")


def test_inputs_are_not_modified(state: dict[str, Tensor]) -> None:
    contract.inputs_are_not_modified(convert, state)
