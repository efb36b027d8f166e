"""Names of the official checkpoints."""

import argparse
import json
from pathlib import Path

import pytest
import torch
from helpers.poet_oracle import build, official_state
from helpers.processes import run_python

from poet.convert_weights import convert


@pytest.fixture(scope="module")
def state(shared: Path) -> dict[str, torch.Tensor]:
    return official_state(shared, json.loads((shared / "oracles/poet/case_a/case.json").read_text()))


@pytest.mark.parametrize("config", ["official/R_50.yaml", "official/DC5_R_50.yaml"])
def test_every_name_has_its_place(shared: Path, state: dict, config: str) -> None:
    manifest = "manifest_dc5_r50.json" if "DC5" in config else "manifest_r50.json"
    counts = json.loads((shared / "oracles/poet" / manifest).read_text())["counts"]
    model = build(config)
    converted = convert(state)
    assert converted.keys() == model.state_dict().keys()
    model.load_state_dict(converted)
    parameters = dict(model.named_parameters())
    assert len(converted) == counts["entries"]
    assert len(parameters) == counts["parameters"]
    trained = {name: p.numel() for name, p in parameters.items() if p.requires_grad}
    assert sum(trained.values()) == counts["numel_trainable"]
    backbone = sum(number for name, number in trained.items() if name.startswith("backbone."))
    assert backbone == counts["numel_group_backbone"]


def test_other_checkpoints_are_refused(state: dict) -> None:
    with pytest.raises(ValueError, match=r"no official POET checkpoint: .*'kpt_embed\.'"):
        convert({name: tensor for name, tensor in state.items() if not name.startswith("kpt_embed")})
    with pytest.raises(ValueError, match=r"2 tensors have names .*bbox_embed"):
        convert({**state, "bbox_embed.weight": torch.ones(1), "transformer.encoder.layers.0.norm9.bias": 1})


def test_a_official_file_becomes_ours(root: Path, state: dict, tmp_path: Path) -> None:
    """With everything that the official training saves, its command line options among it."""
    content = {"model": state, "args": argparse.Namespace(lr=1e-4, num_queries=25), "epoch": 249}
    torch.save({**content, "optimizer": {}, "lr_scheduler": {"last_epoch": 249}}, tmp_path / "in.pth")
    command = [
        "tools/convert_checkpoint.py",
        "poet",
        tmp_path / "in.pth",
        tmp_path / "out.pth",
    ]
    command += ["--config-file", "configs/poet/official/R_50.yaml"]
    done = run_python(command, cwd=root)
    assert done.returncode == 0, done.stderr
    written = torch.load(tmp_path / "out.pth", weights_only=True)["model"]
    assert written.keys() == convert(state).keys()
