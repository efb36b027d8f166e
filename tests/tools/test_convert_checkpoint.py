"""tools/convert_checkpoint.py on a checkpoint with the official names and made-up values."""

import json
import subprocess
import sys
from pathlib import Path

import pytest
import torch
from helpers.fcpose_oracle import build, official_state

CONFIG = "configs/fcpose/official/R_50_3x.yaml"


def run(root: Path, *arguments: object) -> subprocess.CompletedProcess:
    command = [sys.executable, "tools/convert_checkpoint.py", *map(str, arguments)]
    return subprocess.run(command, cwd=root, capture_output=True, text=True, timeout=120)


@pytest.fixture(scope="module")
def state(shared: Path) -> dict[str, torch.Tensor]:
    case = json.loads((shared / "oracles/fcpose/case_a/case.json").read_text())
    return official_state(shared, case)


@pytest.mark.parametrize("wrapped", [False, True])
def test_a_official_checkpoint_becomes_ours(root: Path, tmp_path: Path, state: dict, wrapped: bool) -> None:
    torch.save({"model": state, "iteration": 269999} if wrapped else state, tmp_path / "in.pth")
    done = run(root, "fcpose", tmp_path / "in.pth", tmp_path / "out.pth", "--config-file", CONFIG)
    assert done.returncode == 0, done.stderr
    written = torch.load(tmp_path / "out.pth", weights_only=True)
    assert written.keys() == {"model"}
    build("official/R_50_3x.yaml").load_state_dict(written["model"])
    assert (tmp_path / "out.pth").stat().st_size < 1.01 * (tmp_path / "in.pth").stat().st_size


def test_what_does_not_fit_is_refused(root: Path, tmp_path: Path, state: dict) -> None:
    torch.save(state, tmp_path / "in.pth")
    out = tmp_path / "out.pth"
    wrong_model = run(
        root, "fcpose", tmp_path / "in.pth", out, "--config-file", "configs/fcpose/R_50_3x.yaml"
    )
    assert wrong_model.returncode == 1
    assert "does not fit the model of configs/fcpose/R_50_3x.yaml" in wrong_model.stderr
    wrong_method = run(root, "openpose", tmp_path / "in.pth", out, "--config-file", CONFIG)
    assert "METHOD openpose" in wrong_method.stderr
    state = {name: tensor for name, tensor in state.items() if "cls_logits" not in name}
    torch.save(state, tmp_path / "in.pth")
    incomplete = run(root, "fcpose", tmp_path / "in.pth", out, "--config-file", CONFIG)
    assert "lacks 2 tensors" in incomplete.stderr
    for done in (wrong_model, wrong_method, incomplete):
        assert "Traceback" not in done.stderr
    assert not out.exists()


def test_a_file_that_would_run_code_is_refused(root: Path, tmp_path: Path) -> None:
    torch.save({"model": {"weight": Path("x")}, "hook": print}, tmp_path / "in.pth")
    done = run(root, "fcpose", tmp_path / "in.pth", tmp_path / "out.pth", "--config-file", CONFIG)
    assert done.returncode == 1
    assert "not a readable checkpoint" in done.stderr
