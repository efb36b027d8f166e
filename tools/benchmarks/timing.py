"""Timing that all benchmarks share."""

import os
import time
from collections.abc import Callable, Hashable
from statistics import median
from typing import TypeVar

import torch
from torch import Tensor

Name = TypeVar("Name", bound=Hashable)


def take_turns(candidates: dict[Name, Callable[[], object]], rounds: int, device: str) -> dict[Name, float]:
    """Median milliseconds of each candidate over so many rounds, in each of which every one runs once.

    On a GPU a run is twenty calls in a row, so that the figure is the card's time and not the launches'.
    """
    calls = 20 if device == "cuda" else 1
    times: dict[Name, list[float]] = {name: [] for name in candidates}
    for turn in range(rounds + 1):
        for name, run in candidates.items():
            start = _now(device)
            for _ in range(calls):
                run()
            if turn > 0:  # the first warms up
                times[name].append((_now(device) - start) / calls * 1e3)
    return {name: median(values) for name, values in times.items()}


def _now(device: str) -> float:
    if device == "cuda":
        torch.cuda.synchronize()
    return time.perf_counter()


def forward(function: Callable[..., Tensor], *inputs: Tensor) -> Callable[[], object]:
    return lambda: function(*inputs)


def forward_and_backward(function: Callable[..., Tensor], *inputs: Tensor) -> Callable[[], object]:
    """With the gradients of all inputs but whole numbers."""
    inputs = tuple(tensor.detach().requires_grad_(tensor.is_floating_point()) for tensor in inputs)
    wanted = [tensor for tensor in inputs if tensor.requires_grad]
    grad = torch.randn_like(function(*inputs))
    return lambda: torch.autograd.grad(function(*inputs), wanted, grad)


KINDS = {"forward": forward, "forward and backward": forward_and_backward}


def copy_bandwidth(rounds: int) -> float:
    """Bytes per second, read and written, that the GPU reaches when it copies 1 GiB."""
    source = torch.empty(2**30, dtype=torch.uint8, device="cuda")
    target = torch.empty_like(source)
    milliseconds = take_turns({"copy": lambda: target.copy_(source)}, rounds, "cuda")["copy"]
    return 2 * source.nbytes / milliseconds * 1e3


def describe_machine(device: str) -> str:
    if device == "cuda":
        return f"{torch.cuda.get_device_name()}, torch {torch.__version__}"
    threads, processors = torch.get_num_threads(), os.cpu_count()
    vectors = torch.backends.cpu.get_cpu_capability()
    return f"{threads} threads on {processors} processors with {vectors}, torch {torch.__version__}"
