"""A small DirectPose that tests train by the command line, and signal, kill and continue."""

import os
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import torch

from helpers.configs import override_list
from posecore.config.repository import CONFIGS, TRAIN_NET

ALONE = (sys.executable,)
TORCHRUN = (sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc_per_node", "2")
MARK = "POSECORE_TEST_RUN"
CONFIG = CONFIGS / "directpose/demo/synthetic.yaml"


def command(
    definition: Path,
    output: Path,
    *arguments: str,
    starter: tuple[str, ...] = ALONE,
    options: tuple[str, ...] = (),
    iterations: int = 12,
) -> list[str]:
    """The command that trains: ``options`` come before its KEY VALUE pairs, ``arguments`` come last."""
    overrides = override_list(
        {
            "DATASETS.DEFINITIONS": f"('{definition}',)",
            "DATASETS.TEST": "('synthetic_train',)",
            "OUTPUT_DIR": str(output),
            "MODEL.DEVICE": "cpu",
            "SEED": "0",
            "DATALOADER.NUM_WORKERS": "2",
            "INPUT.MIN_SIZE_TRAIN": "(64,)",
            "INPUT.MIN_SIZE_TEST": "64",
            "SOLVER.WARMUP_ITERS": "2",
            "MODEL.FCOS.NUM_CONVS": "1",
            "SOLVER.IMS_PER_BATCH": "2",
            "SOLVER.MAX_ITER": str(iterations),
            "INPUT.RANDOM_FLIP": "horizontal",
            "SOLVER.CHECKPOINT_PERIOD": "3",
            "TEST.NUM_PREVIEWS": "0",
        }
    )
    return [*starter, str(TRAIN_NET), "--config-file", str(CONFIG), *options, *overrides, *arguments]


def start(definition: Path, output: Path, *arguments: str, **others: Any) -> subprocess.Popen:
    """Starts :func:`command` in a process group of its own; what it writes is in ``output``.txt."""
    output.parent.mkdir(parents=True, exist_ok=True)
    with output.with_suffix(".txt").open("a") as screen:
        return subprocess.Popen(
            command(definition, output, *arguments, **others),
            env={**os.environ, "OMP_NUM_THREADS": "1", MARK: str(output)},
            stdout=screen,
            stderr=subprocess.STDOUT,
            start_new_session=True,
        )


def screen(output: Path) -> str:
    """What the runs with this output have written to the screen."""
    return output.with_suffix(".txt").read_text()


def wait_for(output: Path, text: str, process: subprocess.Popen, seconds: float = 90) -> None:
    """Waits until the screen holds a text."""
    end = time.monotonic() + seconds
    while text not in screen(output):
        assert process.poll() is None, screen(output)
        assert time.monotonic() < end, screen(output)
        time.sleep(0.02)


def left_over(output: Path, seconds: float = 8) -> list[int]:
    """The processes of the runs with this output that are still there after some seconds."""
    end = time.monotonic() + seconds
    while (found := _processes(output)) and time.monotonic() < end:
        time.sleep(0.2)
    return found


def _processes(output: Path) -> list[int]:
    found = []
    for folder in Path("/proc").glob("[0-9]*"):
        try:
            if f"{MARK}={output}\0".encode() in (folder / "environ").read_bytes() + b"\0":
                found.append(int(folder.name))
        except OSError:
            continue
    return found


def kill_all(output: Path) -> None:
    """Kills what a failed test has left."""
    for process in _processes(output):
        os.kill(process, signal.SIGKILL)


def final_weights(output: Path) -> dict[str, torch.Tensor]:
    """The weights of the finished training."""
    return torch.load(output / "model_final.pth", weights_only=True)["model"]


def equal(a: dict[str, torch.Tensor], b: dict[str, torch.Tensor]) -> bool:
    """Whether two sets of weights are the same to the last bit."""
    return a.keys() == b.keys() and all(torch.equal(a[name], b[name]) for name in a)


def signal_rank(output: Path, rank: int, number: signal.Signals) -> None:
    """Sends a signal to the process that torchrun started with this rank."""
    (process,) = [
        process
        for process in _processes(output)
        if f"\0LOCAL_RANK={rank}\0".encode() in Path(f"/proc/{process}/environ").read_bytes()
    ]
    os.kill(process, number)
