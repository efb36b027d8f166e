"""Checkpoints on a disk that is full, for which a limit on the size of files stands."""

from pathlib import Path

import pytest
from helpers.processes import run_python

SAVE = """
import resource, sys, torch
from pathlib import Path
from posecore.checkpoint.files import save_content
_, most = resource.getrlimit(resource.RLIMIT_FSIZE)
resource.setrlimit(resource.RLIMIT_FSIZE, (int(sys.argv[2]), most))
try:
    save_content({"model": torch.zeros(10_000)}, Path(sys.argv[1]))
except OSError as error:
    resource.setrlimit(resource.RLIMIT_FSIZE, (most, most))  # the output is a file, too
    print(type(error).__name__, error.filename, error.strerror, sep=": ")
"""


@pytest.mark.parametrize("limit", [10, 20_000, 40_000])
def test_a_full_disk_is_an_error_of_the_system(root: Path, tmp_path: Path, limit: int) -> None:
    done = run_python(["-c", SAVE, tmp_path / "a.pth", str(limit)], cwd=root)
    assert done.returncode == 0, done.stderr
    assert done.stdout == f"OSError: {tmp_path}/a.pth: File too large\n"


def test_a_folder_that_is_not_there(root: Path, tmp_path: Path) -> None:
    done = run_python(["-c", SAVE, tmp_path / "no" / "a.pth", "100000"], cwd=root)
    assert done.stdout == f"FileNotFoundError: {tmp_path}/no/a.pth: No such file or directory\n"
