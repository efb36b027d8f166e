"""Set-up fails early and says why, and repeats only what its inputs ask for."""

import importlib.util
import os
import shutil
import subprocess
import sys
import time
from collections import namedtuple
from pathlib import Path

import pytest

STEPS = ("build", "torch", "detectron2-index", "packages", "posecore")
HEADLINES = {
    "pip and setuptools": "build",
    "torch and torchvision": "torch",
    "Detectron2 0.6": "detectron2-index",
    "Detectron2 from its repository": "detectron2-git",
    "everything else": "packages",
    "posecore and its operators": "posecore",
}

needs_make = pytest.mark.skipif(shutil.which("make") is None, reason="no make")


@pytest.fixture
def preflight(root):
    spec = importlib.util.spec_from_file_location("preflight", root / "requirements" / "preflight.py")
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


@pytest.fixture
def checkout(root, tmp_path) -> Path:
    """A copy of what set-up depends on; nothing of it is installed."""
    shutil.copy(root / "Makefile", tmp_path)
    shutil.copy(root / "pyproject.toml", tmp_path)
    shutil.copytree(root / "requirements", tmp_path / "requirements")
    shutil.copytree(root / "csrc", tmp_path / "csrc")
    return tmp_path


def make(folder: Path, *arguments: str, **variables: str) -> subprocess.CompletedProcess:
    # A make that runs these tests hands its own options down in MAKEFLAGS.
    environment = {name: value for name, value in os.environ.items() if not name.startswith("MAKE")}
    return subprocess.run(
        ["make", *arguments],
        cwd=folder,
        env={**environment, **variables},
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        timeout=60,
    )


def finish(folder: Path, *steps: str) -> None:
    """Leaves the stamps of finished steps, each newer than everything before it."""
    stamps = folder / ".venv" / "stamps"
    stamps.mkdir(parents=True, exist_ok=True)
    newest = max(path.stat().st_mtime for path in folder.rglob("*"))
    for age, step in enumerate(steps, start=1):
        (stamps / step).touch()
        os.utime(stamps / step, (newest + age, newest + age))


def steps_to_do(folder: Path, *arguments: str) -> set[str]:
    told = make(folder, "--dry-run", "setup", *arguments)
    assert told.returncode == 0, told.stderr
    return {step for headline, step in HEADLINES.items() if headline in told.stdout}


def test_this_python_and_its_compiler_will_do(preflight):
    assert preflight.python_problem() == ""
    assert preflight.compiler_problem() == ""


def test_old_python(preflight, monkeypatch):
    monkeypatch.setattr(sys, "version_info", (3, 9, 18))
    assert "is Python 3.9, but 3.10 or later is needed" in preflight.python_problem()
    assert len(preflight.problems(Path(".venv"))) == 1


def test_no_compiler(preflight, monkeypatch, tmp_path):
    monkeypatch.delenv("CXX", raising=False)
    monkeypatch.setenv("PATH", str(tmp_path))
    assert "no C++ compiler: c++ is not on PATH" in preflight.compiler_problem()


def test_compiler_that_does_not_work(preflight, monkeypatch):
    monkeypatch.setenv("CXX", "false")
    assert "cannot compile a program that includes Python.h (false " in preflight.compiler_problem()


def test_full_disk_matters_until_torch_is_installed(preflight, monkeypatch, tmp_path):
    usage = namedtuple("usage", "total used free")
    monkeypatch.setattr(shutil, "disk_usage", lambda place: usage(10e9, 8e9, 2e9))
    venv = tmp_path / "not" / "yet" / ".venv"
    problem = preflight.problems(venv)[0]
    assert problem.startswith(f"{venv} has 2.0 GB free")
    (venv / "lib" / "python3.11" / "site-packages" / "torch").mkdir(parents=True)
    assert preflight.problems(venv) == []


@needs_make
def test_make_stops_before_it_downloads(checkout):
    done = make(checkout, "setup", f"PYTHON={sys.executable}", CXX="no-such-compiler")
    assert done.returncode != 0
    assert "set-up cannot start: no C++ compiler: no-such-compiler is not on PATH" in done.stderr
    assert not (checkout / ".venv").exists()


@needs_make
def test_make_says_what_to_check_without_a_network(checkout):
    if shutil.disk_usage(checkout).free < 9e9:
        pytest.skip("a full disk is what set-up says first")
    nowhere = {
        "PIP_CONFIG_FILE": os.devnull,
        "PIP_INDEX_URL": "http://127.0.0.1:9/simple",
        "PIP_FIND_LINKS": "",
    }
    done = make(checkout, "setup", f"PYTHON={sys.executable}", **nowhere)
    assert done.returncode != 0
    assert "check the network, the proxy (HTTPS_PROXY) and the index itself" in done.stderr
    assert not (checkout / ".venv" / "stamps" / "build").exists()


@needs_make
@pytest.mark.parametrize(
    ("touched", "repeated"),
    [
        (None, set()),
        ("csrc/library.cpp", {"posecore"}),
        ("pyproject.toml", {"posecore"}),
        ("requirements/dev.txt", {"packages"}),
        ("requirements/preflight.py", set()),
        ("requirements/torch.txt", {"torch", "detectron2-index", "packages", "posecore"}),
    ],
)
def test_only_what_changed_is_repeated(checkout, touched, repeated):
    finish(checkout, *STEPS)
    if touched:
        newer = time.time() + 1000
        os.utime(checkout / touched, (newer, newer))
    assert steps_to_do(checkout) == repeated


@needs_make
def test_first_time_does_everything(checkout):
    assert steps_to_do(checkout) == set(STEPS)


@needs_make
def test_choice_of_detectron2_lasts(checkout):
    finish(checkout, "build", "torch", "detectron2-git", "packages", "posecore")
    assert steps_to_do(checkout) == set()
    assert steps_to_do(checkout, "DETECTRON2=index") == {"detectron2-index", "packages"}


def test_stray_tools_of_detectron2_are_deleted(root, tmp_path):
    info = tmp_path / "pb1_detectron2-0.6.dist-info"
    info.mkdir()
    (info / "METADATA").write_text("Metadata-Version: 2.1\nName: pb1-detectron2\nVersion: 0.6\n")
    stray = ["tools/__init__.py", "tools/deploy/export.py"]
    kept = ["detectron2/tools.py", "mine/tools/__init__.py"]
    for name in stray + kept:
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).touch()
    (info / "RECORD").write_text("".join(f"{name},,\n" for name in [*stray, "tools/gone.py", kept[0]]))
    subprocess.run(
        [sys.executable, root / "requirements" / "drop_stray_tools.py"],
        env={**os.environ, "PYTHONPATH": str(tmp_path)},
        check=True,
    )
    assert not (tmp_path / "tools").exists()
    assert all((tmp_path / name).exists() for name in kept)
