"""Files of MATLAB and HDF5 that are cut, changed or random: an error names the file, and no process crashes.

scipy and h5py end the process that reads some of these files.
"""

import os
import random
import shutil
import signal
import time
from pathlib import Path

import numpy as np
import pytest
import scipy.io

from posecore.data.guarded_reading import CrashError, read_guarded
from posecore.data.importers.convert import import_dataset
from posecore.data.importers.options import ImportOptions
from posecore.data.lspet import load_joints
from posecore.evaluation.mpii import read_mpii_ground_truth

NUM_CHANGES = int(os.environ.get("POSECORE_ATTACK_BINARY_FILES", 4))
SAMPLES = (
    "deeplabcut/single/labeled-data/m2/CollectedData_Sam.h5",
    "sleap/film_v1_0/labels.slp",
    "sleap/images_v1_2/labels.slp",
    "sleap/package/labels.pkg.slp",
    "mpii_mat/release/mpii_human_pose_v1_u12_1.mat",
    "lsp_mat/lsp/joints.mat",
    "lsp_mat/lspet/joints.mat",
)


def changed(content: bytes, choices: random.Random) -> bytes:
    """The content cut, with some bits or bytes changed, or random behind its header."""
    kind = choices.randrange(4)
    if kind == 0:
        return content[: choices.randrange(len(content))]
    if kind == 1:
        return content[: choices.choice([0, 8, 128])] + choices.randbytes(choices.randrange(1, 4000))
    data = bytearray(content)
    for _ in range(choices.randint(1, 30)):
        # Half of the changes lie in the first part, which describes the rest.
        end = len(data) if choices.random() < 0.5 else min(len(data), 4096)
        place = choices.randrange(end)
        data[place] = data[place] ^ (1 << choices.randrange(8)) if kind == 2 else choices.randrange(256)
    return bytes(data)


@pytest.mark.parametrize("sample", SAMPLES)
def test_changed_files(formats, tmp_path, sample):
    if not sample.endswith(".mat"):
        pytest.importorskip("h5py", reason="h5py is not installed (requirements/import.txt)")
    folder = tmp_path / "in"
    shutil.copytree(formats.joinpath(*Path(sample).parts[:2]), folder)
    file = folder.joinpath(*Path(sample).parts[2:])
    file.with_suffix(".csv").unlink(missing_ok=True)  # DeepLabCut's, which would be read instead
    content = file.read_bytes()
    choices = random.Random(sample)
    messages = []
    for number in range(NUM_CHANGES):
        file.write_bytes(changed(content, choices))
        output = tmp_path / f"out{number}"
        try:
            import_dataset(folder, output, ImportOptions())
        except (ValueError, OSError) as error:
            messages.append(str(error))
        else:
            shutil.rmtree(output)
    assert messages
    assert all(str(folder) in message for message in messages), messages
    print(
        f"\nattack: changed files of {sample}: {NUM_CHANGES} files, {len(messages)} refused, 0 raw, 0 crashes"
    )


def test_changed_ground_truths(tmp_path):
    file = tmp_path / "gt.mat"
    scipy.io.savemat(
        file,
        {
            "headboxes_src": np.ones((2, 2, 3)),
            "jnt_missing": np.zeros((16, 3)),
            "pos_gt_src": np.ones((16, 2, 3)),
        },
    )
    content = file.read_bytes()
    choices = random.Random(0)
    messages = []
    for _ in range(NUM_CHANGES):
        file.write_bytes(changed(content, choices))
        for read in (load_joints, lambda path: read_mpii_ground_truth(path, 3, 16)):
            try:
                read(file)
            except (ValueError, OSError) as error:
                messages.append(str(error))
    assert len(messages) >= NUM_CHANGES  # there are no joints
    assert all("gt.mat" in message for message in messages), messages


def kill_itself(file):
    os.kill(os.getpid(), signal.SIGBUS)


def wait(file):
    time.sleep(60)


def leave(file):
    os._exit(3)


def test_a_reader_that_crashes_or_waits(tmp_path, capfd, monkeypatch):
    fork, children = os.fork, []

    def noted_fork():
        if child := fork():
            children.append(child)
        return child

    monkeypatch.setattr(os, "fork", noted_fork)
    file = tmp_path / "x.mat"
    file.write_bytes(b"")
    for read, seconds, message in (
        (kill_itself, 60, r"x\.mat is damaged: the library that reads it has crashed \(SIGBUS\)"),
        (leave, 60, r"x\.mat is damaged: the library that reads it has crashed$"),
        (wait, 0.1, r"x\.mat cannot be read: after 0 seconds it is given up"),
    ):
        with pytest.raises(CrashError, match=message):
            read_guarded(read, file, seconds=seconds)
    assert capfd.readouterr().err == ""
    assert len(children) == 3
    for child in children:  # none is left, not even as a zombie
        with pytest.raises(ChildProcessError):
            os.waitpid(child, os.WNOHANG)


def test_what_a_reader_raises_and_returns(tmp_path):
    file = tmp_path / "x"
    file.write_bytes(b"abc" * 1_000_000)
    assert read_guarded(Path.read_bytes, file) == b"abc" * 1_000_000
    with pytest.raises(UnicodeDecodeError):
        read_guarded(lambda path: b"\xff".decode(), file)

    class LocalError(Exception):
        """Cannot be pickled."""

    def fail(path):
        raise LocalError("its own words")

    with pytest.raises(ValueError, match="its own words"):
        read_guarded(fail, file)
