"""Measures the peak memory of predictions (:func:`measure_memory`) and of trainings.

A prediction is that of one image after the model was built, a training two steps
(:func:`measure_training_memory`). Each figure comes from a process of its own: memory that an earlier
prediction has left in the allocator would be used again and not be counted.
"""

import multiprocessing
from collections.abc import Callable, Sequence
from concurrent.futures import ProcessPoolExecutor

import torch

from posecore.benchmarks.model import PEER, build_keypoint_rcnn, build_ours, our_cfg, predict
from posecore.benchmarks.timing import describe_machine
from posecore.benchmarks.training import DrawnImages, benchmark_cfg, build_training
from posecore.engine.memory import peak_of_process

CHECKPOINTING = ("MODEL.BACKBONE.ACTIVATION_CHECKPOINTING", "True")


def peak_memory(name: str, persons: int, size: tuple[int, int], device: str, threads: int) -> float:
    """Builds a model, predicts one image, and returns the MiB of this process at its peak.

    Args:
        name: a configuration below configs/, or the peer's name.
        persons: in the image.
        size: height and width of the image.
        device: "cpu" (resident memory, the libraries included) or "cuda" (what torch has allocated).
        threads: on the CPU.
    """
    torch.manual_seed(0)
    torch.set_num_threads(threads)
    model = build_keypoint_rcnn(device) if name == PEER else build_ours(our_cfg(name, device))
    with torch.no_grad():
        predict(model, torch.randint(0, 256, (3, *size), dtype=torch.uint8), persons)
    return peak_of_process(device)


def in_new_process(measure: Callable[..., float], *arguments: object) -> float:
    """The result of ``measure(*arguments)``, an importable function, in a process of its own."""
    with ProcessPoolExecutor(1, mp_context=multiprocessing.get_context("spawn")) as processes:
        return processes.submit(measure, *arguments).result()


def measure_memory(
    configs: Sequence[str], *, persons: Sequence[int], size: tuple[int, int], device: str, threads: int
) -> None:
    """Prints MiB per model and number of persons, and their ratio to those of the first number.

    Args:
        configs: our models, below configs/; Keypoint R-CNN comes before them.
        persons: numbers of persons in the image.
        size: height and width of the image.
        device, threads: see :func:`peak_memory`.
    """
    print(f"{describe_machine(device)}; an image of {size[0]} x {size[1]}")
    print(f"{'model':40}{'persons':>9}{'MiB':>10}{'growth':>8}")
    for name in (PEER, *configs):
        first = None
        for count in persons:
            memory = in_new_process(peak_memory, name, count, size, device, threads)
            first = memory if first is None else first
            print(f"{name:40}{count:9}{memory:10.0f}{memory / first:8.2f}", flush=True)


def peak_training_memory(
    config: str, folder: str, overrides: Sequence[str], device: str, threads: int
) -> float:
    """Builds a model, makes two training steps, and returns the MiB of this process at its peak.

    Args:
        config: below configs/.
        folder: of the drawn images that it trains on.
        overrides: KEY VALUE pairs.
        device, threads: see :func:`peak_memory`.
    """
    torch.manual_seed(0)
    torch.set_num_threads(threads)
    training = build_training(benchmark_cfg(config, folder, device, overrides))
    for _ in range(2):  # the optimizer's states are there from the first update on
        training.step()
    return peak_of_process(device)


def measure_training_memory(
    configs: Sequence[str], *, images: DrawnImages, device: str, threads: int
) -> None:
    """Prints MiB of training per model, without and with activation checkpointing of the backbone.

    Args:
        configs: our models, below configs/.
        images: the batch of a step.
        device, threads: see :func:`peak_memory`.
    """
    print(f"{describe_machine(device)}; {images}")
    print(f"{'model':40}{'MiB':>10}{'checkpointing':>15}{'ratio':>8}")
    with images.written(configs) as folder:
        for config in configs:
            plain, saving = (
                in_new_process(peak_training_memory, config, str(folder), overrides, device, threads)
                for overrides in ((), CHECKPOINTING)
            )
            print(f"{config:40}{plain:10.0f}{saving:15.0f}{saving / plain:8.2f}", flush=True)
