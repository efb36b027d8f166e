"""Files of the Hugging Face hub, from a made-up cache without a network."""

import os
import subprocess
import sys

import pytest
import torch
from safetensors.torch import save_file

from posecore.checkpoint.weights import CheckpointError, read_checkpoint

COMMITS = {"main": "a" * 40, "v1": "b" * 40}
READ = """
import sys
from posecore.checkpoint.weights import CheckpointError, read_checkpoint
for source in sys.argv[1:]:
    try:
        print(read_checkpoint(source)["model"]["a"].tolist())
    except CheckpointError as error:
        print("error:", " ".join(str(error).split()))
"""


def test_files_in_the_cache_are_read_offline(root, tmp_path):
    pytest.importorskip("huggingface_hub", reason="needs pip install huggingface_hub")
    repository = tmp_path / "models--owner--name"
    (repository / "refs").mkdir(parents=True)
    for number, (revision, commit) in enumerate(COMMITS.items()):
        (repository / "refs" / revision).write_text(commit)
        (repository / "snapshots" / commit / "folder").mkdir(parents=True)
        save_file({"a": torch.tensor([number])}, repository / "snapshots" / commit / "model.safetensors")
        torch.save({"a": torch.tensor([number + 10])}, repository / "snapshots" / commit / "folder" / "m.pth")
    sources = [
        "hf://owner/name/model.safetensors",
        "hf://owner/name@v1/model.safetensors",
        f"hf://owner/name@{COMMITS['v1']}/folder/m.pth",
        "hf://owner/name/gone.pth",
        "hf://owner/name@v2/model.safetensors",
        "hf://owner/other/model.safetensors",
        "hf://ow ner/name/model.safetensors",
    ]
    done = subprocess.run(
        [sys.executable, "-c", READ, *sources],
        cwd=root,
        env={**os.environ, "HF_HUB_OFFLINE": "1", "HF_HUB_CACHE": str(tmp_path)},
        capture_output=True,
        text=True,
        timeout=120,
    )
    assert done.returncode == 0, done.stderr
    lines = done.stdout.splitlines()
    assert lines[:3] == ["[0]", "[1]", "[11]"]
    assert len(lines) == len(sources)
    for source, line in zip(sources[3:], lines[3:], strict=True):
        assert line.startswith(f"error: MODEL.WEIGHTS {source} cannot be fetched: ")


@pytest.mark.parametrize(
    "address", ["name/file.pth", "owner/name", "owner/name@/file.pth", "owner/name@a@b/f.pth"]
)
def test_other_addresses(address):
    with pytest.raises(
        CheckpointError, match=r"must be hf://owner/name/file or hf://owner/name@revision/file"
    ):
        read_checkpoint(f"hf://{address}")


def test_without_the_package(monkeypatch):
    monkeypatch.setitem(sys.modules, "huggingface_hub", None)
    with pytest.raises(CheckpointError, match="pip install huggingface_hub"):
        read_checkpoint("hf://owner/name/model.safetensors")
