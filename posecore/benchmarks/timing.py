"""Times functions in turns (:func:`take_turns`), and describes the machine that they run on."""

import os
import time
from collections.abc import Callable, Hashable, Mapping
from dataclasses import dataclass
from statistics import median
from typing import TypeVar

import torch
from torch import Tensor

Name = TypeVar("Name", bound=Hashable)


@dataclass(frozen=True)
class ImageBatch:
    """The images whose feature maps an operator is measured on.

    Attributes:
        num_images: images in the batch.
        size: their height and width in pixels.
        device: "cpu" or "cuda".
    """

    num_images: int
    size: tuple[int, int]
    device: str


def take_turns(
    candidates: Mapping[Name, Callable[[], object]],
    rounds: int,
    device: str,
    clock: Callable[[], float] = time.perf_counter,
) -> dict[Name, float]:
    """Median milliseconds of each candidate.

    In each round every candidate runs once, so that other load on the machine meets all of them. On a GPU a
    run is twenty calls in a row: the time is then the card's and not that of launching kernels.

    Args:
        candidates: the functions by name.
        rounds: runs of each candidate; one more, which comes first, warms up.
        device: "cpu" or "cuda".
        clock: seconds; of what runs in one thread, ``time.process_time`` leaves out other load altogether.
    """
    calls = 20 if device == "cuda" else 1
    times: dict[Name, list[float]] = {name: [] for name in candidates}
    for turn in range(rounds + 1):
        for name, run in candidates.items():
            start = now(device, clock)
            for _ in range(calls):
                run()
            if turn > 0:  # the first warms up
                times[name].append((now(device, clock) - start) / calls * 1e3)
    return {name: median(values) for name, values in times.items()}


def now(device: str, clock: Callable[[], float] = time.perf_counter) -> float:
    """Seconds of a clock, after all work on the device is done."""
    if device == "cuda":
        torch.cuda.synchronize()
    return clock()


def forward(function: Callable[..., Tensor], *inputs: Tensor) -> Callable[[], object]:
    """The function on these inputs."""
    return lambda: function(*inputs)


def forward_and_backward(function: Callable[..., Tensor], *inputs: Tensor) -> Callable[[], object]:
    """The function on these inputs, and the gradients of those that are floating point."""
    inputs = tuple(tensor.detach().requires_grad_(tensor.is_floating_point()) for tensor in inputs)
    wanted = [tensor for tensor in inputs if tensor.requires_grad]
    grad = torch.randn_like(function(*inputs))
    return lambda: torch.autograd.grad(function(*inputs), wanted, grad)


# What is timed of an operator.
PASSES: dict[str, Callable[..., Callable[[], object]]] = {
    "forward": forward,
    "forward and backward": forward_and_backward,
}


def copy_bandwidth(rounds: int) -> float:
    """Bytes per second, read and written, that the GPU reaches when it copies 1 GiB."""
    source = torch.empty(2**30, dtype=torch.uint8, device="cuda")
    target = torch.empty_like(source)
    milliseconds = take_turns({"copy": lambda: target.copy_(source)}, rounds, "cuda")["copy"]
    return 2 * source.nbytes / milliseconds * 1e3


def describe_machine(device: str) -> str:
    """The GPU, or the threads and processors of the CPU, and the version of torch."""
    if device == "cuda":
        return f"{torch.cuda.get_device_name()}, torch {torch.__version__}"
    threads, processors = torch.get_num_threads(), os.cpu_count()
    vectors = torch.backends.cpu.get_cpu_capability()
    return f"{threads} threads on {processors} processors with {vectors}, torch {torch.__version__}"
