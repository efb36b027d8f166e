"""Memory at the peak of building a model and predicting one image, by the number of persons in it.

Each figure comes from a process of its own: what an earlier prediction has left in the allocator would be
used again and not be seen.
"""

import argparse
import multiprocessing
from concurrent.futures import ProcessPoolExecutor
from pathlib import Path
from typing import Any

import posecore  # noqa: F401  (before Detectron2, whose gaps it closes: a new process begins with this file)

# isort: split
import torch

from benchmarks.model import PEER, keypoint_rcnn, ours, predict
from benchmarks.timing import describe_machine

MIB = 2**20


def peak_memory(name: str, persons: int, size: tuple[int, int], device: str, threads: int) -> float:
    """MiB of this process at its peak, when it has built a model and predicted one image.

    Args:
        name: a configuration below configs/, or the peer's name.
        persons: found in the image.
        size: its height and width.
        device: "cpu" (resident memory, the libraries included) or "cuda" (what torch has allocated).
        threads: on the CPU.
    """
    torch.manual_seed(0)
    torch.set_num_threads(threads)
    model = keypoint_rcnn(device) if name == PEER else ours(name, device)
    with torch.no_grad():
        predict(model, torch.randint(0, 256, (3, *size), dtype=torch.uint8), persons)
    return peak_of_process(device)


def peak_of_process(device: str) -> float:
    """MiB that this process has held at its peak: resident memory, or on a GPU what torch has allocated."""
    if device == "cuda":
        return torch.cuda.max_memory_allocated() / MIB
    # getrusage would also count what the process held that this one was started by.
    (line,) = (line for line in Path("/proc/self/status").read_text().splitlines() if "VmHWM" in line)
    return int(line.split()[1]) * 1024 / MIB


def in_new_process(*case: Any) -> float:
    """:func:`peak_memory` of a process that has done nothing else."""
    with ProcessPoolExecutor(1, mp_context=multiprocessing.get_context("spawn")) as processes:
        return processes.submit(peak_memory, *case).result()


def run(args: argparse.Namespace) -> None:
    """Prints MiB per model and number of persons, and how they grow from the first number on."""
    print(f"{describe_machine(args.device)}; an image of {args.size[0]} x {args.size[1]}")
    print(f"{'model':40}{'persons':>9}{'MiB':>10}{'growth':>8}")
    for name in (PEER, *args.configs):
        first = None
        for persons in args.persons:
            memory = in_new_process(name, persons, tuple(args.size), args.device, args.threads)
            first = memory if first is None else first
            print(f"{name:40}{persons:9}{memory:10.0f}{memory / first:8.2f}", flush=True)
