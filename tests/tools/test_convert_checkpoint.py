"""tools/convert_checkpoint.py from its command line, on official names with made-up values."""

import json
import subprocess
from pathlib import Path

import pytest
import torch
from helpers.fcpose_oracle import build, official_state
from helpers.processes import run_python

CONFIG = "configs/fcpose/official/R_50_3x.yaml"


def run(root: Path, *arguments: object) -> subprocess.CompletedProcess:
    return run_python(["tools/convert_checkpoint.py", *map(str, arguments)], cwd=root)


@pytest.fixture(scope="module")
def state(shared: Path) -> dict[str, torch.Tensor]:
    case = json.loads((shared / "oracles/fcpose/case_a/case.json").read_text())
    return official_state(shared, case)


def test_an_official_checkpoint_becomes_ours(root: Path, tmp_path: Path, state: dict) -> None:
    torch.save(state, tmp_path / "in.pth")
    done = run(root, "fcpose", tmp_path / "in.pth", tmp_path / "new/out.pth", "--config-file", CONFIG)
    assert done.returncode == 0, done.stderr
    written = torch.load(tmp_path / "new/out.pth", weights_only=True)
    assert written.keys() == {"model"}
    assert done.stdout == f"{tmp_path}/new/out.pth: {len(written['model'])} tensors\n"
    build("official/R_50_3x.yaml").load_state_dict(written["model"])
    assert (tmp_path / "new/out.pth").stat().st_size < 1.01 * (tmp_path / "in.pth").stat().st_size


def test_a_wrong_model_is_one_line_and_no_file(root: Path, tmp_path: Path, state: dict) -> None:
    torch.save(state, tmp_path / "in.pth")
    out, config = tmp_path / "out.pth", "configs/fcpose/R_50_3x.yaml"
    done = run(root, "fcpose", tmp_path / "in.pth", out, "--config-file", config)
    assert done.returncode == 1
    assert f"does not fit the model of {config}" in done.stderr
    assert "Traceback" not in done.stderr
    assert not out.exists()
