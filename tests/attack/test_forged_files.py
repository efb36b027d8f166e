"""Many forged weight files and configurations: an error of one kind, nothing run, no crash."""

import contextlib
import io
import os
import pickle
import random
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import torch

from posecore.checkpoint.weights import CheckpointError, read_checkpoint
from posecore.config import get_cfg
from posecore.config.merge import UsageError
from posecore.config.repository import CONFIGS, REPOSITORY

pytestmark = pytest.mark.attack
FILES = int(os.environ.get("POSECORE_ATTACK_FILES", 3000))
TAGS = [
    "!!python/object/apply:os.mkdir [ran]",
    "!!python/object/new:os.mkdir [ran]",
    "!!python/name:os.mkdir x",
]


def mutated(content: bytes, rng: random.Random) -> bytes:
    """Some bytes changed, left out, doubled or cut."""
    data = bytearray(content)
    for _ in range(rng.randint(1, 8)):
        place = rng.randrange(len(data))
        change = rng.randrange(5)
        if change < 3:
            data[place] = rng.randrange(256)
        elif change == 3:
            del data[place : place + rng.randint(1, 8)]
        else:
            data[place:place] = data[place : place + rng.randint(1, 8)]
        data = data or bytearray(b".")
    return bytes(data[: rng.randint(1, len(data))] if rng.random() < 0.1 else data)


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
        Path(f"forged.{ending}").write_bytes(mutated(rng.choice(originals), rng))
        with contextlib.suppress(CheckpointError):
            read_checkpoint(f"forged.{ending}")
            read += 1
    assert [path.name for path in tmp_path.iterdir()] == [f"forged.{ending}"]
    assert read < FILES
    print(f"\nattack: forged {ending}: {FILES} files, {read} read, 0 raw, nothing run")


def test_mutated_configurations(tmp_path):
    rng = random.Random(0)
    files = sorted(CONFIGS.glob("*/*.yaml"))
    for _ in range(FILES // 10):
        source = rng.choice(files)
        text = mutated(source.read_bytes(), rng)
        forged = tmp_path / "forged.yaml"
        forged.write_bytes(text.replace(b"_BASE_: ../", f"_BASE_: {CONFIGS}/".encode()))
        # yacs: KeyError for a key that does not exist, AssertionError for a type that it does not have.
        with contextlib.suppress(UsageError, ValueError, KeyError, AssertionError, FileNotFoundError):
            get_cfg().merge_from_file(str(forged))


@pytest.mark.parametrize("tag", TAGS)
@pytest.mark.parametrize(
    "command",
    [
        ("browse_dataset.py", "--config-file", "{file}"),
        ("train_net.py", "--config-file", "{file}"),
        ("predict.py", "--config-file", "{file}", "--input", "x.jpg", "--output", "out"),
        ("convert_checkpoint.py", "fcpose", "x.pth", "--config-file", "{file}", "--output", "y.pth"),
    ],
    ids=lambda command: command[0],
)
def test_no_tool_runs_tags(tmp_path, command, tag):
    (tmp_path / "evil.yaml").write_text(f"SOLVER: {tag}\n")
    (tmp_path / "config.yaml").write_text("_BASE_: evil.yaml\n")
    arguments = [argument.format(file=tmp_path / "config.yaml") for argument in command[1:]]
    done = subprocess.run(
        [sys.executable, REPOSITORY / "tools" / command[0], *arguments],
        cwd=tmp_path,
        env={**os.environ, "PYTHONPATH": str(REPOSITORY)},
        capture_output=True,
        text=True,
    )
    assert done.returncode != 0
    assert not (tmp_path / "ran").exists()
