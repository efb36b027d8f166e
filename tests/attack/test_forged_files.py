"""Many forged weight files, and tags in the configurations of every tool: nothing runs, no crash."""

import contextlib
import io
import os
import pickle
import random
import runpy
import sys
from pathlib import Path

import numpy as np
import pytest
import torch
from helpers.changed_bytes import changed_bytes

from posecore.checkpoint.errors import CheckpointError
from posecore.checkpoint.weights import read_checkpoint
from posecore.config.repository import REPOSITORY

pytestmark = pytest.mark.attack
FILES = int(os.environ.get("POSECORE_ATTACK_FILES", 3000))
TAGS = [
    "!!python/object/apply:os.mkdir [ran]",
    "!!python/object/new:os.mkdir [ran]",
    "!!python/name:os.mkdir x",
]


@pytest.mark.parametrize("ending", ["pkl", "pth"])
def test_mutated_weights(tmp_path, monkeypatch, ending):
    monkeypatch.chdir(tmp_path)
    rng = random.Random(0)
    weights = {"a.weight": np.arange(6.0).reshape(2, 3), "b": np.float32(2), "c": np.arange(4, dtype="i2")}
    if ending == "pth":
        file = io.BytesIO()
        torch.save({"model": {name: torch.tensor(value) for name, value in weights.items()}}, file)
        originals = [file.getvalue()]
    else:
        originals = [pickle.dumps({"model": weights}, protocol=number) for number in range(6)]
    read = 0
    for _ in range(FILES):
        Path(f"forged.{ending}").write_bytes(changed_bytes(rng.choice(originals), rng))
        with contextlib.suppress(CheckpointError):
            read_checkpoint(f"forged.{ending}")
            read += 1
    assert [path.name for path in tmp_path.iterdir()] == [f"forged.{ending}"]
    assert read < FILES
    print(f"\nattack: forged {ending}: {FILES} files, {read} read, 0 raw, nothing run")


OUT = ("--output", "{tmp}/out.png")
CONFIG = ("--config-file", "{file}")
COMMANDS = [
    ("analyze", "attention", *CONFIG, "--input", "x.jpg", *OUT),
    ("analyze", "centers", *CONFIG, *OUT),
    ("analyze", "keypoints", *CONFIG, *OUT),
    ("benchmark", "model", "--configs", "{file}"),
    ("benchmark", "cost", "--configs", "{file}"),
    ("browse_dataset", *CONFIG, *OUT),
    ("check_dataset", "{tmp}/train.yaml", *CONFIG),
    ("convert_checkpoint", "fcpose", "x.pth", "y.pth", *CONFIG),
    ("convert_checkpoint", "export", "x.pth", "y.safetensors", *CONFIG),
    ("export", *CONFIG, "--output", "{tmp}/m.onnx", "MODEL.WEIGHTS", "x.pth"),
    ("predict", *CONFIG, "--input", "x.jpg", "--output", "out"),
    (
        "predict",
        "--detector-config",
        "{file}",
        "--detector-weights",
        "x.pth",
        "--input",
        "x.jpg",
        "--output",
        "o",
    ),
    ("submit", *CONFIG, "--output", "submission"),
    ("sweep", *CONFIG, "--output", "sweep", "--grid", "SEED", "1"),
    ("train_net", *CONFIG),
    ("train_net", "--dry-run", *CONFIG),
    ("check_dataset", "{file}"),
    ("import_dataset", "{file}", "--output", "imported"),
    ("import_dataset", "{file}", "--to", "yolo", "--output", "exported"),
    ("analyze", "errors", "{file}", "x.json"),
]


@pytest.mark.parametrize("as_base", [False, True], ids=["file", "base"])
@pytest.mark.parametrize("command", COMMANDS, ids=[" ".join(command[:2]) for command in COMMANDS])
def test_no_tool_runs_tags(tmp_path, monkeypatch, capfd, command, as_base):
    monkeypatch.chdir(tmp_path)
    file = tmp_path / "forged.yaml"
    for tag in TAGS:
        (tmp_path / "evil.yaml").write_text(f"SOLVER: {tag}\n")
        file.write_text("_BASE_: evil.yaml\n" if as_base else f"SOLVER: {tag}\n")
        arguments = [argument.format(file=file, tmp=tmp_path) for argument in command[1:]]
        monkeypatch.setattr(sys, "argv", [f"{command[0]}.py", *arguments])
        with pytest.raises(SystemExit) as end:
            runpy.run_path(str(REPOSITORY / "tools" / f"{command[0]}.py"), run_name="__main__")
        said = capfd.readouterr()
        assert end.value.code
        assert "Traceback" not in said.err
        assert not (tmp_path / "ran").exists()
