"""Times Poseur beside RLE on crops of persons, and measures memory (:func:`compare_with_rle`).

The comparison is that of the supplement's Tables 4 and 5. The models have random weights and take the same
crops, in turns; their work does not depend on the values. Memory is that of a process of its own.
"""

from collections.abc import Callable
from typing import Any

import torch
from detectron2.modeling import build_model
from detectron2.structures import Boxes, Instances, Keypoints

from posecore.benchmarks.memory import in_new_process
from posecore.benchmarks.timing import describe_machine, take_turns
from posecore.config import get_cfg
from posecore.config.repository import CONFIGS
from posecore.engine.memory import peak_of_process
from poseur.poseur import Poseur

# Name -> configuration and overrides; ratios are to the first.
MODELS: dict[str, tuple[str, tuple]] = {
    "RLE HRNet-W32": ("poseur/HRNet_W32_256x192.yaml", ("MODEL.POSEUR.NUM_LAYERS", 0)),
    "Poseur R-50": ("poseur/R_50_256x192.yaml", ()),
    "Poseur R-50, MSDA": ("poseur/R_50_256x192.yaml", ("MODEL.POSEUR.CROSS_ATTENTION", "MSDA")),
}
# One pass: the flipped image would double everything. BatchNorm of one process.
COMMON = {
    "MODEL.WEIGHTS": "",
    "MODEL.POSEUR.FLIP_FUSION": "none",
    "MODEL.RESNETS.NORM": "BN",
    "MODEL.TIMM.NORM": "BN",
}


def build(name: str, device: str) -> Poseur:
    """One of :data:`MODELS` with random weights."""
    config, overrides = MODELS[name]
    cfg = get_cfg()
    cfg.merge_from_file(str(CONFIGS / config))
    cfg.merge_from_list(
        ["MODEL.DEVICE", device, *(item for pair in COMMON.items() for item in pair), *overrides]
    )
    return build_model(cfg)


def image_input(count: int) -> dict[str, Any]:
    """The model's input of an image with ``count`` persons."""
    return {
        "crops": torch.randint(0, 256, (count, 3, 256, 192), dtype=torch.uint8),
        "crop_to_image": torch.eye(2, 3).repeat(count, 1, 1),
        "boxes": torch.tensor([[0.0, 0.0, 192.0, 256.0]]).repeat(count, 1),
        "box_scores": torch.ones(count),
        "height": 256,
        "width": 192,
    }


def training_input(num_keypoints: int) -> dict[str, Any]:
    """The model's input of one person in training."""
    ground_truth = Instances(
        (256, 192),
        gt_boxes=Boxes(torch.tensor([[0.0, 0.0, 192.0, 256.0]])),
        gt_classes=torch.zeros(1, dtype=torch.int64),
        gt_keypoints=Keypoints(torch.full((1, num_keypoints, 3), 2.0)),
    )
    return image_input(1) | {"instances": ground_truth}


def predict(model: Poseur, count: int) -> Callable[[], list[dict[str, Instances]]]:
    """A function that predicts ``count`` crops."""
    model.eval()
    inputs = [image_input(count)]

    def once() -> list[dict[str, Instances]]:
        with torch.no_grad():
            return model(inputs)

    return once


def train(model: Poseur, count: int) -> Callable[[], None]:
    """A function that computes losses and gradients of ``count`` crops."""
    model.train()
    batch = [training_input(model.skeleton.num_keypoints) for _ in range(count)]

    def once() -> None:
        model.zero_grad()
        torch.stack(list(model(batch).values())).sum().backward()

    return once


TASKS: dict[str, Callable[[Poseur, int], Callable[[], object]]] = {"predict": predict, "train": train}


def peak_memory(name: str, task: str, count: int, device: str, threads: int) -> float:
    """MiB of this process at its peak, after one of :data:`TASKS` with one of :data:`MODELS`."""
    torch.set_num_threads(threads)
    TASKS[task](build(name, device), count)()
    return peak_of_process(device)


def compare_with_rle(*, crops: int, device: str, threads: int, rounds: int) -> None:
    """Prints median milliseconds per crop and peak MiB, with their ratios to RLE's.

    Args:
        crops: persons at once.
        device: "cpu" or "cuda".
        threads: on the CPU.
        rounds: runs of each model.
    """
    torch.manual_seed(0)
    torch.set_num_threads(threads)
    print(f"{describe_machine(device)}; {crops} crops of 256 x 192 at once")
    print(f"medians of {rounds} rounds, random weights, without the flip test")
    print(f"{'model':24}{'task':>10}{'ms/crop':>10}{'ratio':>8}{'MiB':>8}{'ratio':>8}")
    for task, prepare in TASKS.items():
        candidates = {name: prepare(build(name, device), crops) for name in MODELS}
        times = take_turns(candidates, rounds, device)
        first_time, first_memory = times[next(iter(MODELS))], None
        for name, milliseconds in times.items():
            memory = in_new_process(peak_memory, name, task, crops, device, threads)
            first_memory = first_memory or memory
            print(
                f"{name:24}{task:>10}{milliseconds / crops:10.1f}{milliseconds / first_time:8.2f}"
                f"{memory:8.0f}{memory / first_memory:8.2f}",
                flush=True,
            )
