"""The memory of this process: its peak (:func:`peak_of_process`), and what becomes of freed memory
(:func:`keep_freed_memory`).
"""

import ctypes
import sys
from pathlib import Path

import torch

MIB = 2**20
# Parameters of mallopt(3), and their values; its values are of 32 bits.
_KEEP_FREED_MEMORY = {
    -4: 0,  # M_MMAP_MAX: large blocks come from the heap too
    -1: 2**31 - 1,  # M_TRIM_THRESHOLD: the heap does not shrink before 2 GiB at its end are free
    -2: 256 * MIB,  # M_TOP_PAD: it grows by this much
}


def peak_of_process(device: str) -> float:
    """MiB of this process at its peak: resident memory, or on a GPU the memory that torch has allocated."""
    if device.startswith("cuda"):
        return torch.cuda.max_memory_allocated() / MIB
    # Not getrusage: it also counts the memory of the process that started this one.
    (line,) = (line for line in Path("/proc/self/status").read_text().splitlines() if "VmHWM" in line)
    return int(line.split()[1]) * 1024 / MIB


def keep_freed_memory(device: str) -> bool:
    """Makes a process that computes on the CPU keep freed memory for the next step.

    A training step allocates and frees gigabytes of activations. By default the C library returns every
    large block to the system at once, which then hands out pages filled with zeros, one page fault for each,
    in every step (docs/training.md has what this costs). The process keeps its peak memory until it ends.

    Args:
        device: "cpu" or "cuda"; nothing is done for the latter, whose activations are not here.

    Returns:
        Whether it does; only glibc on Linux can.
    """
    if device.startswith("cuda") or not sys.platform.startswith("linux"):
        return False
    mallopt = getattr(ctypes.CDLL(None), "mallopt", None)
    return mallopt is not None and all(mallopt(*setting) == 1 for setting in _KEEP_FREED_MEMORY.items())
