"""Names of the official checkpoints, their groups of the optimizer, and how a new model starts."""

import argparse
import json
import re
from pathlib import Path

import pytest
import torch
from helpers.configs import load_cfg
from helpers.grouppose_oracle import Case, build, manifest
from helpers.processes import run_python

from grouppose.convert_weights import convert
from posecore.engine.solver import build_optimizer

OFFICIAL = "official/R_50.yaml"


@pytest.fixture(scope="module")
def state(shared: Path) -> dict[str, torch.Tensor]:
    return Case(shared, "case_a").state


def test_every_name_has_its_place(shared: Path, state: dict) -> None:
    counts = manifest(shared)["counts"]
    model = build(OFFICIAL)
    converted = convert(state)
    assert converted.keys() == model.state_dict().keys()
    model.load_state_dict(converted)
    assert len(converted) == counts["entries"] - counts["aliases"]
    assert sum(tensor.numel() for tensor in model.parameters()) == counts["numel_parameters"]
    groups = build_optimizer(load_cfg(f"grouppose/{OFFICIAL}"), model).param_groups
    sizes = {group["lr"]: sum(p.numel() for p in group["params"]) for group in groups}
    assert sizes == pytest.approx({1e-4: counts["numel_group_main"], 1e-5: counts["numel_group_backbone"]})
    assert {group["weight_decay"] for group in groups} == {1e-4}


def test_second_names_may_be_missing_but_not_differ(state: dict) -> None:
    second = "transformer.decoder.class_embed.3.bias"
    without = {name: tensor for name, tensor in state.items() if name != second}
    assert convert(without).keys() == convert(state).keys()
    with pytest.raises(ValueError, match=rf"{second} must hold the same numbers as class_embed\.3\.bias"):
        convert({**state, second: state[second] + 1})
    only_second = {n: t for n, t in state.items() if not n.startswith(("class_embed", "pose_embed"))}
    assert convert(only_second).keys() == convert(state).keys()


def test_other_checkpoints_are_refused(state: dict) -> None:
    part = "transformer.enc_output_norm."
    with pytest.raises(ValueError, match=rf"no official GroupPose checkpoint: .*'{part}'"):
        convert({name: tensor for name, tensor in state.items() if not name.startswith(part)})
    with pytest.raises(ValueError, match=r"2 tensors have names .*bbox_embed"):
        convert({**state, "bbox_embed.weight": torch.ones(1), "transformer.encoder.layers.0.norm9.bias": 1})


def test_an_official_file_becomes_ours(root: Path, state: dict, tmp_path: Path) -> None:
    """With what the official training saves, its command line options among it."""
    content = {"model": state, "args": argparse.Namespace(lr=1e-4, num_queries=100), "epoch": 59}
    torch.save({**content, "optimizer": {}, "lr_scheduler": {"last_epoch": 59}}, tmp_path / "in.pth")
    command = ["tools/convert_checkpoint.py", "grouppose", "in.pth", "out.pth"]
    command = [str(tmp_path / part) if part.endswith(".pth") else part for part in command]
    command += ["--config-file", f"configs/grouppose/{OFFICIAL}"]
    done = run_python(command, cwd=root)
    assert done.returncode == 0, done.stderr
    written = torch.load(tmp_path / "out.pth", weights_only=True)["model"]
    assert written.keys() == convert(state).keys()


def test_a_new_model_starts_as_the_official_one(shared: Path, state: dict) -> None:
    """Means, spreads and limits of every parameter but the backbone's."""
    rows = json.loads((shared / "oracles/grouppose/init_statistics.json").read_text())["parameters"]
    model = build(OFFICIAL)
    parameters = dict(model.named_parameters())
    by_tensor = {id(tensor): name for name, tensor in convert(state).items()}
    compared = set()
    for row in rows:
        first_name = re.sub(r"transformer\.decoder\.((class|pose)_embed)", r"\1", row["name"])
        name = by_tensor[id(state[first_name])]
        values = parameters[name].detach()
        compared.add(name)
        assert list(values.shape) == row["shape"], name
        noise = 4 / values.numel() ** 0.5
        assert values.std(correction=0).item() == pytest.approx(row["std"], rel=noise, abs=1e-6), name
        assert values.mean().item() == pytest.approx(row["mean"], abs=2 * noise * row["std"] + 1e-4), name
        if "level_embed" not in name and values.numel() > 1000:
            assert values.max().item() == pytest.approx(row["max"], rel=0.05, abs=1e-6), name
    assert compared == {name for name in parameters if not name.startswith("backbone.")}
    heads = [model.proposals.classifier, *model.decoder.classifiers]
    assert all(torch.equal(head.weight, heads[0].weight) for head in heads)
    first, *others = model.decoder.regressors
    assert all(torch.equal(other.layers[0].weight, first.layers[0].weight) for other in others)
