"""Peak memory of this process: :func:`peak_of_process`."""

from pathlib import Path

import torch

MIB = 2**20


def peak_of_process(device: str) -> float:
    """MiB of this process at its peak: resident memory, or on a GPU the memory that torch has allocated."""
    if device.startswith("cuda"):
        return torch.cuda.max_memory_allocated() / MIB
    # Not getrusage: it also counts the memory of the process that started this one.
    (line,) = (line for line in Path("/proc/self/status").read_text().splitlines() if "VmHWM" in line)
    return int(line.split()[1]) * 1024 / MIB
