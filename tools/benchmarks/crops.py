"""Poseur beside RLE on crops of persons: time and memory (supplement, Tables 4 and 5).

The models have random weights and take the same crops, in turns; nothing they do depends on what they see.
Memory is that of a process of its own.
"""

import argparse
import multiprocessing
from collections.abc import Callable
from concurrent.futures import ProcessPoolExecutor

import posecore  # noqa: F401  (before Detectron2, whose gaps it closes: a new process begins with this file)

# isort: split
import torch
from detectron2.modeling import build_model
from detectron2.structures import Boxes, Instances, Keypoints
from torch import nn

from benchmarks.memory import peak_of_process
from benchmarks.model import CONFIGS
from benchmarks.timing import describe_machine, take_turns
from posecore.config import get_cfg

# Name -> configuration and overrides; ratios are to the first.
ROWS: dict[str, tuple[str, tuple]] = {
    "RLE HRNet-W32": ("poseur/HRNet_W32_256x192.yaml", ("MODEL.POSEUR.NUM_LAYERS", 0)),
    "Poseur R-50": ("poseur/R_50_256x192.yaml", ()),
    "Poseur R-50, MSDA": ("poseur/R_50_256x192.yaml", ("MODEL.POSEUR.CROSS_ATTENTION", "MSDA")),
}
# One pass: the flipped image would double everything. BatchNorm of one process.
COMMON = (
    *("MODEL.WEIGHTS", "", "MODEL.POSEUR.FLIP_FUSION", "none"),
    *("MODEL.RESNETS.NORM", "BN", "MODEL.TIMM.NORM", "BN"),
)


def build(name: str, device: str) -> nn.Module:
    config, overrides = ROWS[name]
    cfg = get_cfg()
    cfg.merge_from_file(str(CONFIGS / config))
    cfg.merge_from_list(["MODEL.DEVICE", device, *COMMON, *overrides])
    return build_model(cfg)


def image(count: int) -> dict:
    """An image with so many persons."""
    return {
        "crops": torch.randint(0, 256, (count, 3, 256, 192), dtype=torch.uint8),
        "crop_to_image": torch.eye(2, 3).repeat(count, 1, 1),
        "boxes": torch.tensor([[0.0, 0.0, 192.0, 256.0]]).repeat(count, 1),
        "box_scores": torch.ones(count),
        "height": 256,
        "width": 192,
    }


def person(num_keypoints: int) -> dict:
    """A sample to train on."""
    ground_truth = Instances(
        (256, 192),
        gt_boxes=Boxes(torch.tensor([[0.0, 0.0, 192.0, 256.0]])),
        gt_classes=torch.zeros(1, dtype=torch.int64),
        gt_keypoints=Keypoints(torch.full((1, num_keypoints, 3), 2.0)),
    )
    return image(1) | {"instances": ground_truth}


def predict(model: nn.Module, count: int) -> Callable[[], object]:
    model.eval()
    inputs = [image(count)]

    def once() -> object:
        with torch.no_grad():
            return model(inputs)

    return once


def train(model: nn.Module, count: int) -> Callable[[], object]:
    """Losses and gradients of so many samples."""
    model.train()
    batch = [person(model.skeleton.num_keypoints) for _ in range(count)]

    def once() -> None:
        model.zero_grad()
        sum(model(batch).values()).backward()

    return once


TASKS = {"predict": predict, "train": train}


def peak_memory(name: str, task: str, count: int, device: str, threads: int) -> float:
    """MiB of this process at its peak, when it has built a model and worked on so many crops."""
    torch.set_num_threads(threads)
    TASKS[task](build(name, device), count)()
    return peak_of_process(device)


def run(args: argparse.Namespace) -> None:
    """Prints median milliseconds per crop and peak MiB, with their ratios to RLE's."""
    torch.manual_seed(0)
    torch.set_num_threads(args.threads)
    print(f"{describe_machine(args.device)}; {args.crops} crops of 256 x 192 at once")
    print(f"medians of {args.rounds} rounds, random weights, without the flip test")
    print(f"{'model':24}{'task':>10}{'ms/crop':>10}{'ratio':>8}{'MiB':>8}{'ratio':>8}")
    spawn = multiprocessing.get_context("spawn")
    for task, prepare in TASKS.items():
        candidates = {name: prepare(build(name, args.device), args.crops) for name in ROWS}
        times = take_turns(candidates, args.rounds, args.device)
        first_time, first_memory = times[next(iter(ROWS))], None
        for name, milliseconds in times.items():
            with ProcessPoolExecutor(1, mp_context=spawn) as processes:
                case = (name, task, args.crops, args.device, args.threads)
                memory = processes.submit(peak_memory, *case).result()
            first_memory = first_memory or memory
            print(
                f"{name:24}{task:>10}{milliseconds / args.crops:10.1f}{milliseconds / first_time:8.2f}"
                f"{memory:8.0f}{memory / first_memory:8.2f}",
                flush=True,
            )
