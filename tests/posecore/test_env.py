"""The report names what is installed, where it came from, and what to do when nothing is compiled."""

import importlib.util
import json
import subprocess
from dataclasses import asdict
from importlib.metadata import Distribution, PackageNotFoundError

import pytest
import torch
from helpers.processes import run_python

import posecore
from posecore import env
from posecore.config.errors import UsageError
from posecore.structures.skeleton import load_skeleton


def test_report_is_one_screen(root):
    done = run_python(["-m", "posecore.env"], cwd=root)
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


SKELETON = load_skeleton("crowdpose_14")


def save_record(folder, **changes):
    record = {**asdict(env.TrainingRecord.of("SEED: 7\n", SKELETON)), **changes}
    file = folder / "model.pth"
    torch.save({"model": {}, "iteration": 41, "record": record}, file)
    return file


def test_a_checkpoint_says_what_it_was_trained_with(root, tmp_path):
    file = save_record(tmp_path, versions={**env.versions(), "torch": "1.0"})
    done = run_python(["-m", "posecore.env", "--checkpoint", file], cwd=root)
    assert done.returncode == 0, done.stderr
    lines = dict(line.split(maxsplit=1) for line in done.stdout.splitlines() if " " in line)
    assert lines["iteration"] == "41"
    assert lines["torch"] == f"1.0 (here: {torch.__version__})"
    assert lines["numpy"] == env.versions()["numpy"]
    assert lines["skeleton"].startswith("crowdpose_14, 14 keypoints: ")
    assert lines["commit"] in (env.git_commit(), "not known")
    assert done.stdout.endswith("configuration:\nSEED: 7\n")


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ({"model": {}}, "records no training: it holds model;"),
        ({str(number): 0 for number in range(300)}, r"it holds 0, 1, 2, 3, 4, \.\.\.;"),
        ({"model": {}, "record": {"versions": {}}}, "its record is broken"),
        ([1], "is no checkpoint, but holds a list"),
        (None, "is no readable checkpoint"),
    ],
)
def test_files_without_a_record(tmp_path, content, message):
    file = tmp_path / "model.pth"
    if content is None:
        file.write_bytes(b"nothing")
    else:
        torch.save(content, file)
    with pytest.raises(UsageError, match=message):
        env.describe_checkpoint(str(file))


def test_a_checkpoint_that_is_missing_is_one_line(root):
    done = run_python(["-m", "posecore.env", "--checkpoint", "missing.pth"], cwd=root)
    assert done.returncode == 1
    assert done.stderr == "posecore.env: missing.pth does not exist, or is no file\n"


def test_the_commit_is_that_of_the_checkout_alone(tmp_path):
    git = ["git", "-C", tmp_path, "-c", "user.name=a", "-c", "user.email=a@example.org"]
    assert env.git_commit(tmp_path) == ""
    subprocess.run([*git, "init", "-q"], check=True)
    assert env.git_commit(tmp_path) == ""  # no commit yet
    (tmp_path / "file").write_text("1")
    (tmp_path / "package").mkdir()
    subprocess.run([*git, "add", "."], check=True)
    subprocess.run([*git, "commit", "-q", "-m", "one"], check=True)
    commit = env.git_commit(tmp_path)
    assert len(commit) == 40
    assert env.git_commit(tmp_path / "package") == ""
    (tmp_path / "file").write_text("2")
    assert env.git_commit(tmp_path) == f"{commit} with changes"
