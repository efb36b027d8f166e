"""The report names what is installed, where it came from, and what to do when nothing is compiled."""

import importlib.util
import json
import subprocess
import sys
from importlib.metadata import Distribution, PackageNotFoundError

import pytest
import torch

import posecore
from posecore import env


def test_report_is_one_screen(root):
    done = subprocess.run(
        [sys.executable, "-m", "posecore.env"], cwd=root, capture_output=True, text=True, timeout=120
    )
    assert done.returncode == 0, done.stderr
    lines = done.stdout.splitlines()
    assert len(lines) <= 30
    names = [line.split()[0] for line in lines]
    assert {"posecore", "Python", "torch", "detectron2", "numpy", "timm", "hotcoco", "operators"} <= set(
        names
    )
    assert posecore.__version__ in lines[0]
    assert torch.__version__ in done.stdout


def test_devices_are_those_with_a_kernel():
    library = torch.library.Library("posecore", "FRAGMENT")
    library.define("only_here(Tensor x) -> Tensor")
    library.define("nowhere(Tensor x) -> Tensor")
    library.impl("only_here", lambda x: x.clone(), "CPU")
    devices = env.operator_devices()
    assert devices["only_here"] == ["CPU"]
    assert devices["nowhere"] == []


def test_says_when_nothing_is_compiled(monkeypatch):
    find = importlib.util.find_spec
    monkeypatch.setattr(
        importlib.util, "find_spec", lambda name, *rest: None if name == "posecore._C" else find(name, *rest)
    )
    assert "not compiled: run `make setup`" in env.describe()


@pytest.mark.parametrize(
    ("name", "direct_url", "told"),
    [
        ("pb1_detectron2", None, "from the package index (pb1-detectron2)"),
        (
            "detectron2",
            {
                "url": "https://example.org/detectron2.git",
                "vcs_info": {"vcs": "git", "commit_id": "0123456789abcdef"},
            },
            "https://example.org/detectron2.git at 0123456789ab",
        ),
        ("detectron2", {"url": "file:///home/me/detectron2", "dir_info": {}}, "file:///home/me/detectron2"),
    ],
)
def test_origin_of_detectron2(tmp_path, monkeypatch, name, direct_url, told):
    info = tmp_path / f"{name}-9.9.dist-info"
    info.mkdir()
    (info / "METADATA").write_text(f"Metadata-Version: 2.1\nName: {name.replace('_', '-')}\nVersion: 9.9\n")
    if direct_url:
        (info / "direct_url.json").write_text(json.dumps(direct_url))

    def find(wanted: str) -> Distribution:
        for found in Distribution.discover(name=wanted, path=[str(tmp_path)]):
            return found
        raise PackageNotFoundError(wanted)

    monkeypatch.setattr(env, "distribution", find)
    assert env.detectron2_origin().startswith(f"9.9, {told}")
