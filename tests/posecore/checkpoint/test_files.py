"""Checkpoints on a disk that is full, for which a limit on the size of files stands."""

import subprocess
import sys
from pathlib import Path

import pytest

SAVE = """
import resource, sys, torch
from pathlib import Path
from posecore.checkpoint.files import save_content
resource.setrlimit(resource.RLIMIT_FSIZE, (int(sys.argv[2]),) * 2)
try:
    save_content({"model": torch.zeros(10_000)}, Path(sys.argv[1]))
except OSError as error:
    print(type(error).__name__, error.filename, error.strerror, sep=": ")
"""


@pytest.mark.parametrize("limit", [10, 20_000, 40_000])
def test_a_full_disk_is_an_error_of_the_system(root: Path, tmp_path: Path, limit: int) -> None:
    command = [sys.executable, "-c", SAVE, tmp_path / "a.pth", str(limit)]
    done = subprocess.run(command, cwd=root, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    assert done.stdout == f"OSError: {tmp_path}/a.pth: File too large\n"


def test_a_folder_that_is_not_there(root: Path, tmp_path: Path) -> None:
    command = [sys.executable, "-c", SAVE, tmp_path / "no" / "a.pth", "100000"]
    done = subprocess.run(command, cwd=root, capture_output=True, text=True)
    assert done.stdout == f"FileNotFoundError: {tmp_path}/no/a.pth: No such file or directory\n"
