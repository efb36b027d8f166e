"""Times training steps beside those of Detectron2's Keypoint R-CNN R-50-FPN (:func:`time_training`).

All models train on the same drawn images, in one process, in turns. Top-down models train on the crops of all
persons of these images. Weights are random and learning rates 0, so that no step differs from another.
"""

import tempfile
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path
from statistics import median
from typing import Any, Literal

import detectron2.modeling
import torch
from detectron2.config import CfgNode
from detectron2.utils.events import EventStorage
from torch import nn
from torch.optim import SGD, Optimizer

from posecore.benchmarks.model import PEER, keypoint_rcnn_cfg, scale_stem
from posecore.benchmarks.timing import describe_machine, now
from posecore.config import get_cfg
from posecore.config.merge import merge_config
from posecore.config.repository import CONFIGS
from posecore.data import build_samples, train_dataset_dicts
from posecore.data.synthetic import make_dataset
from posecore.engine.solver import build_optimizer
from posecore.engine.trainer import amp_dtype
from posecore.modeling.build import build_model

NAME = "benchmark"


@dataclass(frozen=True)
class DrawnImages:
    """The images that models train on.

    Attributes:
        count: number of images of a batch.
        size: their height and width in pixels.
        persons: in each image.
    """

    count: int
    size: tuple[int, int]
    persons: int

    def __str__(self) -> str:
        height, width = self.size
        return f"{self.count} images of {height} x {width} with {self.persons} persons each"

    @contextmanager
    def written(self, configs: Sequence[str]) -> Iterator[Path]:
        """Draws the images for each skeleton of some configurations and for that of the defaults.

        Yields:
            The folder, for :func:`benchmark_cfg`, which is removed afterwards.
        """
        with tempfile.TemporaryDirectory() as folder:
            for skeleton in sorted({_skeleton(config) for config in ("", *configs)}):
                make_dataset(
                    Path(folder, skeleton),
                    num_images=self.count,
                    size=self.size,
                    skeleton=skeleton,
                    name=f"{NAME}_{skeleton}",
                    people=(self.persons, self.persons),
                )
            yield Path(folder)


@dataclass(frozen=True)
class Phases:
    """Milliseconds of the phases of a training step."""

    forward: float
    backward: float
    update: float

    @property
    def step(self) -> float:
        """Milliseconds of all phases together."""
        return self.forward + self.backward + self.update


@dataclass(frozen=True)
class Training:
    """A model that makes the same training step again and again.

    Attributes:
        model: in training mode.
        optimizer: of its parameters, with learning rates of 0.
        batch: the samples of each step.
        dtype: half-precision type of autocast in the forward pass, or None.
        device: "cpu" or "cuda".
    """

    model: nn.Module
    optimizer: Optimizer
    batch: list[dict[str, Any]]
    dtype: torch.dtype | None
    device: str

    def step(self) -> Phases:
        """Makes a step, and measures its phases."""
        times = [now(self.device)]
        with torch.autocast(self.device, dtype=self.dtype, enabled=self.dtype is not None):
            loss = sum(self.model(self.batch).values())
        times.append(now(self.device))
        self.optimizer.zero_grad()
        torch.as_tensor(loss).backward()
        times.append(now(self.device))
        self.optimizer.step()
        times.append(now(self.device))
        return Phases(*((end - start) * 1e3 for start, end in pairwise(times)))


def benchmark_cfg(config: str, folder: Path | str, device: str, overrides: Sequence[str] = ()) -> CfgNode:
    """A configuration below configs/ that trains on drawn images at their own size, without weights.

    Args:
        config: its file; "" for the defaults, for what only reads images.
        folder: of :meth:`DrawnImages.written`.
        device: for MODEL.DEVICE.
        overrides: KEY VALUE pairs, flat.
    """
    skeleton = _skeleton(config)
    definition = Path(folder, skeleton, "train.yaml")
    fixed = ["MODEL.DEVICE", device, "MODEL.WEIGHTS", "", "INPUT.MIN_SIZE_TEST", "0"]
    data = ["DATASETS.DEFINITIONS", f"('{definition}',)", "DATASETS.TRAIN", f"('{NAME}_{skeleton}_train',)"]
    return merge_config(get_cfg(), _file(config), [*fixed, *data, *overrides])


def _skeleton(config: str) -> str:
    """The name of a configuration's skeleton."""
    return merge_config(get_cfg(), _file(config), ["MODEL.DEVICE", "cpu"]).DATASETS.SKELETON


def _file(config: str) -> Path | Literal[""]:
    """The file of a configuration below configs/; "" for the defaults."""
    return CONFIGS / config if config else ""


def labeled_batch(cfg: CfgNode) -> list[dict[str, Any]]:
    """All samples of DATASETS.TRAIN, not augmented: images, or crops of persons."""
    samples = build_samples(cfg)
    return [samples.labeled_sample(record) for record in train_dataset_dicts(cfg)]


def build_training(cfg: CfgNode) -> Training:
    """The training of a configuration of :func:`benchmark_cfg`."""
    model = scale_stem(build_model(cfg)).train()
    return Training(
        model, frozen_rates(build_optimizer(cfg, model)), labeled_batch(cfg), amp_dtype(cfg), cfg.MODEL.DEVICE
    )


def build_peer_training(folder: Path | str, device: str, dtype: torch.dtype | None) -> Training:
    """The training of Keypoint R-CNN on the same images."""
    model = scale_stem(detectron2.modeling.build_model(keypoint_rcnn_cfg(device))).train()
    parameters = [parameter for parameter in model.parameters() if parameter.requires_grad]
    optimizer = SGD(parameters, lr=0.0, momentum=0.9, weight_decay=1e-4)
    batch = labeled_batch(benchmark_cfg("", folder, device))
    return Training(model, optimizer, batch, dtype, device)


def frozen_rates(optimizer: Optimizer) -> Optimizer:
    """The optimizer with learning rates of 0; its updates take as long as others."""
    for group in optimizer.param_groups:
        group["lr"] = 0.0
    return optimizer


def time_training(
    configs: Sequence[str],
    *,
    images: DrawnImages,
    overrides: Sequence[str],
    device: str,
    threads: int,
    rounds: int,
) -> None:
    """Prints median milliseconds of forward, backward and update, and their ratios to Keypoint R-CNN's.

    Args:
        configs: our models, below configs/.
        images: that all train on.
        overrides: KEY VALUE pairs for our models; with SOLVER.AMP.ENABLED the peer computes in half precision
            too.
        device: "cpu" or "cuda".
        threads: on the CPU.
        rounds: steps of each model; one more, which comes first, warms up.
    """
    torch.manual_seed(0)
    torch.set_num_threads(threads)
    with images.written(configs) as folder:
        cfgs = {config: benchmark_cfg(config, folder, device, overrides) for config in configs}
        dtype = amp_dtype(next(iter(cfgs.values()))) if cfgs else None
        trainings = {PEER: build_peer_training(folder, device, dtype)}
        trainings |= {config: build_training(cfg) for config, cfg in cfgs.items()}
    times = steps_in_turns(trainings, rounds)
    print(f"{describe_machine(device)}; {images}")
    print(f"medians of {rounds} rounds, random weights; {' '.join(overrides) or 'no overrides'}")
    print(f"{'model':36}" + "".join(f"{name + ', ms':>14}{'ratio':>7}" for name in _COLUMNS))
    for config, phases in times.items():
        cells = (
            f"{getattr(phases, name):14.0f}{getattr(phases, name) / getattr(times[PEER], name):7.2f}"
            for name in _COLUMNS
        )
        print(f"{config:36}" + "".join(cells))


def steps_in_turns(trainings: dict[str, Training], rounds: int) -> dict[str, Phases]:
    """The median of each phase of each training; in each round every training makes one step."""
    measured: dict[str, list[Phases]] = {name: [] for name in trainings}
    with EventStorage():  # Keypoint R-CNN records its samples there
        for turn in range(rounds + 1):
            for name, training in trainings.items():
                phases = training.step()
                if turn > 0:  # the first warms up
                    measured[name].append(phases)
    return {
        name: Phases(
            median(phases.forward for phases in steps),
            median(phases.backward for phases in steps),
            median(phases.update for phases in steps),
        )
        for name, steps in measured.items()
    }


_COLUMNS = ("forward", "backward", "update", "step")
