"""Finds the device, the memory and the processors of this machine: :class:`Machine`."""

import os
from dataclasses import dataclass

import torch

from posecore.config.device import check_device, find_device


@dataclass(frozen=True)
class Machine:
    """Where the training is to run.

    Attributes:
        device: for MODEL.DEVICE, "cpu" or "cuda".
        memory: bytes of the GPU or, for a CPU, of the machine.
        processors: that this process may use.
    """

    device: str
    memory: int
    processors: int


def find_machine(device: str) -> Machine:
    """The device, its memory, and the processors.

    Raises:
        ValueError: torch knows no such device, or this machine has none.
    """
    name = find_device(device)
    check_device(name, "--device")
    processors = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    if torch.device(name).type == "cuda":
        memory = torch.cuda.get_device_properties(torch.device(name)).total_memory
    else:
        memory = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
    return Machine(name, memory, processors)
