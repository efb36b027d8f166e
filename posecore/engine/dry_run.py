"""A trial of a training on its real data, which leaves no files: :func:`dry_run`."""

import itertools
import tempfile
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from functools import partial
from typing import TypeVar

import torch
from detectron2.config import CfgNode
from detectron2.utils import comm
from torch import nn

from posecore.config import get_cfg
from posecore.config.merge import merge_config
from posecore.data import build_test_loader
from posecore.engine.determinism import operator_errors
from posecore.engine.memory import peak_of_process
from posecore.engine.setup import set_up_process
from posecore.engine.trainer import Trainer
from posecore.engine.unread_keys import log_unread_overrides
from posecore.evaluation import build_evaluator
from posecore.modeling.tta import with_tta

Result = TypeVar("Result")


@dataclass(frozen=True)
class EvaluationTrial:
    """An evaluation batch of a test dataset.

    Attributes:
        name: of the dataset.
        images: in the dataset that this process evaluates.
        poses: found in the batch.
        seconds: for an image.
    """

    name: str
    images: int
    poses: int
    seconds: float


@dataclass(frozen=True)
class DryRun:
    """The measurements of :func:`dry_run`.

    Attributes:
        model: name of the meta-architecture.
        parameters: in the model.
        losses: of the first step, and its gradient norm.
        batch: images of a step, of all processes.
        step_seconds: for the second step, from asking for its batch to the updated weights.
        memory: MiB of this process at its peak.
        iterations: of the training.
        evaluations: during and after the training.
        test: of each test dataset that has an image for this process.
    """

    model: str
    parameters: int
    losses: dict[str, float]
    batch: int
    step_seconds: float
    memory: float
    iterations: int
    evaluations: int
    test: tuple[EvaluationTrial, ...]

    @property
    def seconds(self) -> float:
        """Estimated seconds of the whole training, without the computation of metrics."""
        evaluation = sum(trial.images * trial.seconds for trial in self.test)
        return self.iterations * self.step_seconds + self.evaluations * evaluation

    def describe(self, now: datetime) -> str:
        """The measurements as lines of text; ``now`` is when the training would begin."""
        lines = [
            f"model: {self.model}, {self.parameters / 1e6:.1f} million parameters",
            "first step: " + ", ".join(f"{name} {value:.4g}" for name, value in self.losses.items()),
            f"second step: {self.step_seconds:.3g} s, {self.batch / self.step_seconds:.3g} images per second",
        ]
        lines += [
            f"evaluation on {trial.name}: {trial.seconds:.3g} s per image, {1 / trial.seconds:.3g} images a "
            f"second and process; {trial.poses} poses in the first image"
            for trial in self.test
        ]
        end = now + timedelta(seconds=self.seconds)
        lines += [
            f"peak memory of a process: {self.memory:.0f} MiB",
            f"{self.iterations} iterations and {self.evaluations} evaluations would take about "
            f"{timedelta(seconds=round(self.seconds))} and end at about {end:%Y-%m-%d %H:%M}",
        ]
        return "\n".join(lines)


def dry_run(config_file: str, overrides: Sequence[str]) -> DryRun:
    """Builds everything, makes two steps and evaluates up to two images of each test dataset.

    Every process of the job calls this; the main one prints the result. The second step and the second image
    are timed, because the first ones include the start of loaders and libraries. Nothing is written to
    OUTPUT_DIR.

    Args:
        config_file: the configuration; "" for the defaults.
        overrides: KEY VALUE pairs, flat.

    Raises:
        UsageError, CheckpointError: a training would end with the same error.
    """
    with tempfile.TemporaryDirectory(prefix="posecore-dry-run-") as folder:
        cfg = merge_config(get_cfg(), config_file, [*overrides, "OUTPUT_DIR", folder])
        set_up_process(cfg)
        trainer = Trainer(cfg)
        log_unread_overrides(cfg, overrides)
        trainer.resume_or_load(resume=False)
        result = _measure(cfg, trainer)
        comm.synchronize()
    if comm.is_main_process():
        print(result.describe(datetime.now()), flush=True)
    return result


def _measure(cfg: CfgNode, trainer: Trainer) -> DryRun:
    device = cfg.MODEL.DEVICE
    model = getattr(trainer.step.model, "module", trainer.step.model)
    losses, step_seconds = _two_steps(trainer, device)
    period, iterations = cfg.TEST.EVAL_PERIOD, trainer.max_iter
    return DryRun(
        model=cfg.MODEL.META_ARCHITECTURE,
        parameters=sum(parameter.numel() for parameter in model.parameters()),
        losses=losses,
        batch=cfg.SOLVER.IMS_PER_BATCH,
        step_seconds=step_seconds,
        test=_evaluate_batches(cfg, model),
        memory=peak_of_process(device),
        iterations=iterations,
        evaluations=1 + ((iterations - 1) // period if period > 0 else 0),
    )


def _two_steps(trainer: Trainer, device: str) -> tuple[dict[str, float], float]:
    """The losses of the first step, and the seconds of the second; the loader's workers end with the call."""
    trainer.step.model.train()
    batches = trainer.batches()
    with operator_errors():
        losses = trainer.step(next(batches))
        seconds, _ = _timed(lambda: trainer.step(next(batches)), device)
    return losses, seconds


def _evaluate_batches(cfg: CfgNode, model: nn.Module) -> tuple[EvaluationTrial, ...]:
    """Predicts up to two batches of each test dataset, and hands the first to its evaluator."""
    images_cfg, predict = with_tta(cfg, model)
    predict.eval()
    trials = []
    for name in cfg.DATASETS.TEST:
        loader = build_test_loader(images_cfg, name)
        evaluator = build_evaluator(cfg, name)
        evaluator.reset()
        images = len(loader)  # type: ignore[arg-type]
        seconds, poses = 0.0, 0
        with torch.no_grad(), operator_errors():
            for place, batch in enumerate(itertools.islice(loader, 2)):
                seconds, outputs = _timed(partial(predict, batch), cfg.MODEL.DEVICE)
                if place == 0:
                    evaluator.process(batch, outputs)
                    poses = sum(len(output["instances"]) for output in outputs)
        if seconds:
            trials.append(EvaluationTrial(name, images, poses, seconds))
    return tuple(trials)


def _timed(function: Callable[[], Result], device: str) -> tuple[float, Result]:
    """The seconds of a call, with the work of the GPU that it starts, and its result."""
    start = time.perf_counter()
    result = function()
    if device.startswith("cuda"):
        torch.cuda.synchronize()
    return time.perf_counter() - start, result
