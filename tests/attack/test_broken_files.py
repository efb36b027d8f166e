"""Attacks on the files of a training: checkpoints that are cut or changed, and disks that fill up.

`make attack` runs this; it prints a line of figures for each attack.
"""

import os
import random
import resource
import subprocess
from collections import Counter
from pathlib import Path

import pytest
import torch
from helpers.small_training import CONFIG, command

from posecore.checkpoint.checkpointer import PoseCheckpointer
from posecore.checkpoint.weights import CheckpointError
from posecore.config import get_cfg
from posecore.data.synthetic import make_dataset
from posecore.modeling.build import build_model

pytestmark = pytest.mark.attack

CHANGES = 300
# Largest sizes of a file, in bytes: within the logs, within a checkpoint, and just below it.
LIMITS = (1_000, 20_000, 100_000, 1_000_000, 5_000_000)
END = "model_final.pth"


def train(root: Path, data: Path, output: Path, iterations: int, limit: int | None = None):
    """Trains, or continues, with a largest size of the files that are written."""

    def limit_files() -> None:
        if limit is not None:
            resource.setrlimit(resource.RLIMIT_FSIZE, (limit, limit))

    return subprocess.run(
        command(
            data / "train.yaml",
            output,
            *("DATALOADER.NUM_WORKERS", "0", "SOLVER.WARMUP_ITERS", "1", "SOLVER.CHECKPOINT_PERIOD", "1"),
            options=("--resume",),
            iterations=iterations,
        ),
        cwd=root,
        env=os.environ | {"OMP_NUM_THREADS": "1"},
        preexec_fn=limit_files,
        capture_output=True,
        text=True,
        timeout=120,
    )


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("data")
    make_dataset(folder, num_images=2, size=(64, 64), people=(1, 1))
    return folder


def test_full_disks(root: Path, data: Path, tmp_path: Path) -> None:
    """No checkpoint is lost, the end is one line, and the training goes on where there is space again."""
    first = tmp_path / "first"
    assert train(root, data, first, 2).returncode == 0
    results = Counter()
    for limit in LIMITS:
        output = tmp_path / str(limit)
        subprocess.run(["cp", "-r", str(first), str(output)], check=True)
        before = (output / END).read_bytes()
        full = train(root, data, output, 4, limit)
        results["failed" if full.returncode else "ended well"] += 1
        assert "Traceback" not in full.stderr, full.stderr[-2000:]
        if full.returncode:
            assert (output / END).read_bytes() == before
        again = train(root, data, output, 4)
        assert again.returncode == 0, again.stderr[-2000:]
        assert torch.load(output / END, weights_only=True)["iteration"] == 3
        assert not list(output.glob("*.part"))
    print(f"\nattack: full disks: {len(LIMITS)} trainings, {dict(results)}, 0 checkpoints lost")


def test_changed_checkpoints(root: Path, tmp_path: Path) -> None:
    """A checkpoint that is cut, or has a byte changed, is refused, or loads the weights that were saved."""
    cfg = get_cfg()
    cfg.merge_from_file(str(CONFIG))
    cfg.merge_from_list(["MODEL.DEVICE", "cpu", "MODEL.FCOS.NUM_CONVS", 1, "MODEL.FCOS.CHANNELS", 32])
    model = build_model(cfg)
    PoseCheckpointer(model, str(tmp_path)).save("model_final", iteration=1)
    weights = {name: weight.clone() for name, weight in model.state_dict().items()}
    whole = (tmp_path / END).read_bytes()
    draw = random.Random(0)
    results = Counter()
    for number in range(CHANGES):
        changed = bytearray(whole)
        place = draw.randrange(len(whole))
        if number % 3 == 0:
            del changed[place:]
        else:
            # Half of the changes lie in the directory at the end, where a file is most sensitive.
            place = place if number % 3 == 1 else len(whole) - 1 - draw.randrange(8192)
            changed[place] ^= 1 << draw.randrange(8)
        (tmp_path / "changed.pth").write_bytes(changed)
        try:
            PoseCheckpointer(model).load(str(tmp_path / "changed.pth"))
        except CheckpointError as error:
            results["refused" if "changed.pth" in str(error) else "refused without a name"] += 1
            continue
        results["loaded as saved"] += 1
        same = all(torch.equal(weight, weights[name]) for name, weight in model.state_dict().items())
        assert same, f"change {number}: other weights in silence"
    assert "refused without a name" not in results
    print(f"\nattack: changed checkpoints: {CHANGES} files, {dict(results)}, 0 other weights in silence")
