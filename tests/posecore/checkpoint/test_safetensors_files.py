"""Weights as safetensors: what is written is read, and a broken file is an error that names it."""

import json

import numpy as np
import pytest
import torch
from safetensors.torch import load_file, save_file

from posecore.checkpoint.safetensors_files import (
    ENTRY,
    ModelHeader,
    read_header,
    read_safetensors,
    write_safetensors,
)
from posecore.checkpoint.weights import CheckpointError, read_checkpoint

HEADER = ModelHeader("MODEL: {}\n", "name: hands\n", {"torch": "2.14"})


def weights():
    generator = torch.Generator().manual_seed(0)
    return {
        "b.weight": torch.randn(3, 4, 2, generator=generator),
        "a.half": torch.randn(5, generator=generator).half(),
        "a.brain": torch.randn(5, generator=generator).bfloat16(),
        "counter": torch.tensor(7),
        "nothing": torch.zeros(0, 2),
    }


@pytest.fixture
def file(tmp_path):
    write_safetensors(weights(), tmp_path / "model.safetensors", HEADER)
    return tmp_path / "model.safetensors"


def test_what_is_written_is_read(file):
    read = read_checkpoint(str(file))["model"]
    assert read.keys() == weights().keys()
    for name, weight in weights().items():
        assert torch.equal(read[name], weight.float() if weight.is_floating_point() else weight)
    assert read_header(file) == HEADER


def test_sixteen_bits_in_the_file_are_thirty_two_in_the_model(file):
    assert {name: weight.dtype for name, weight in read_safetensors(file).items()} == {
        "a.brain": torch.float32,
        "a.half": torch.float32,
        "b.weight": torch.float32,
        "counter": torch.int64,
        "nothing": torch.float32,
    }
    assert load_file(file)["a.half"].dtype == torch.float16


def test_equal_weights_make_equal_files_in_any_order(file, tmp_path):
    for number in range(5):
        shuffled = sorted(weights().items(), key=lambda item: hash((item[0], number)))
        write_safetensors(dict(shuffled), tmp_path / "other.safetensors", HEADER)
        assert (tmp_path / "other.safetensors").read_bytes() == file.read_bytes()


def test_weights_that_share_memory_or_are_no_blocks(tmp_path):
    whole = torch.arange(12.0).reshape(3, 4)
    given = {"a": whole, "b": whole, "column": whole[:, 1], "turned": whole.T}
    write_safetensors(given, tmp_path / "model.safetensors", HEADER)
    read = read_safetensors(tmp_path / "model.safetensors")
    assert all(torch.equal(read[name], weight) for name, weight in given.items())


def test_files_of_others_have_no_description(tmp_path):
    save_file({"layer1.weight": torch.ones(2)}, tmp_path / "model.safetensors", metadata={"format": "pt"})
    assert read_header(tmp_path / "model.safetensors") is None
    assert read_checkpoint(str(tmp_path / "model.safetensors"))["model"].keys() == {"res2.weight"}


def test_a_file_that_is_cut_off_anywhere(file):
    whole = file.read_bytes()
    for length in {0, 1, 7, 8, 9, 100, *np.linspace(0, len(whole) - 1, 40, dtype=int).tolist()}:
        file.write_bytes(whole[:length])
        with pytest.raises(CheckpointError, match=r"MODEL\.WEIGHTS .*model\.safetensors: it is broken"):
            read_checkpoint(str(file))


@pytest.mark.parametrize("place", [-1, -40, -100])
def test_a_flipped_bit_in_a_weight(file, place):
    content = bytearray(file.read_bytes())
    content[place] ^= 1
    file.write_bytes(content)
    with pytest.raises(CheckpointError, match=r"model\.safetensors: it is broken: its weights differ"):
        read_checkpoint(str(file))


def test_a_file_that_is_something_else(tmp_path):
    torch.save({"a": torch.ones(1)}, tmp_path / "model.safetensors")
    with pytest.raises(CheckpointError, match=r"model\.safetensors: it is broken, or no safetensors"):
        read_checkpoint(str(tmp_path / "model.safetensors"))


@pytest.mark.parametrize(
    "entry", ["no JSON", "[1]", json.dumps({"config": 1, "skeleton": "", "versions": {}})]
)
def test_a_broken_description(tmp_path, entry):
    save_file({"a": torch.ones(2)}, tmp_path / "model.safetensors", metadata={ENTRY: entry})
    with pytest.raises(ValueError, match="header entry posecore"):
        read_header(tmp_path / "model.safetensors")
