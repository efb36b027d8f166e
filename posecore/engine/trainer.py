"""The training loop of a configuration: :class:`Trainer`."""

import itertools
import logging
import time
from collections.abc import Callable, Iterable, Sequence
from functools import partial
from pathlib import Path
from typing import Any

import torch
from detectron2.config import CfgNode, configurable
from detectron2.engine import DefaultTrainer, HookBase, TrainerBase, hooks
from detectron2.utils import comm
from detectron2.utils.events import CommonMetricPrinter, JSONWriter, TensorboardXWriter
from torch import nn
from torch.nn.parallel import DistributedDataParallel
from torch.optim.lr_scheduler import LRScheduler

from posecore.checkpoint.checkpointer import PoseCheckpointer
from posecore.config.options import choice
from posecore.data import build_samples, build_train_loader, train_dataset_dicts
from posecore.data.loader import samples_per_process
from posecore.engine import random_state
from posecore.engine.evaluate import evaluate
from posecore.engine.hooks import Evaluate, PlotCurves, ProgressBar, SaveCheckpoint, end_last_line
from posecore.engine.solver import (
    build_gradient_clipper,
    build_lr_scheduler,
    build_optimizer,
    resolve_epochs,
)
from posecore.engine.step import TrainingStep
from posecore.engine.validation import check_validation
from posecore.evaluation import build_evaluator
from posecore.modeling.build import build_model

logger = logging.getLogger(__name__)

# Iterations between two lines of progress, and of metrics.json.
LOG_PERIOD = 20
AMP_DTYPES = {"bfloat16": torch.bfloat16, "float16": torch.float16}


class Trainer(TrainerBase):
    """Detectron2's training loop with this project's steps, checkpoints and metrics.

    ``Trainer(cfg)`` builds all parts; call :meth:`resume_or_load` and then :meth:`train`. A training that is
    stopped after a checkpoint and resumed gets the same images in the same order as without the stop, and
    ends with the same weights if the augmentation of images is not random.
    """

    @configurable
    def __init__(
        self,
        *,
        step: TrainingStep,
        scheduler: LRScheduler,
        batches: Callable[[int, int], Iterable[list[dict[str, Any]]]],
        order_seed: int,
        max_iter: int,
        checkpoint_period: int,
        evaluation_period: int,
        evaluate: Callable[[], dict],
        weights: str,
        output_dir: str | Path,
    ) -> None:
        """
        Args:
            step: trains the model on a batch; its optimizer and scaler are saved with the model.
            scheduler: of the step's optimizer, stepped after each iteration.
            batches: takes the seed of the order of images and the number of the first batch, and returns the
                endless batches of this process.
            order_seed: that seed, the same in all processes; a resumed training keeps that of its checkpoint.
            max_iter: iterations to train.
            checkpoint_period: iterations between two checkpoints; 0 for one at the end only.
            evaluation_period: iterations between two evaluations; 0 for one at the end only.
            evaluate: returns metrics, nested by task; called in all processes.
            weights: initial weights of a training that is not resumed, as MODEL.WEIGHTS can be.
            output_dir: folder for checkpoints, metrics.json and other files.
        """
        super().__init__()
        self.step = step
        self.scheduler = scheduler
        self.optimizer = step.optimizer
        self.max_iter = max_iter
        self._make_batches = batches
        self._order_seed = order_seed
        self._random_states: list[dict[str, Any]] = []
        self._weights = weights
        self._output_dir = Path(output_dir)
        self.checkpointer = PoseCheckpointer(
            step.model, str(output_dir), optimizer=step.optimizer, scheduler=scheduler
        )
        if step.scaler.is_enabled():
            self.checkpointer.add_checkpointable("scaler", step.scaler)
        self._evaluation = Evaluate(evaluation_period, evaluate)
        self.register_hooks(
            [
                hooks.IterationTimer(),
                hooks.LRScheduler(self.optimizer, scheduler),
                SaveCheckpoint(self._save, checkpoint_period),
                self._evaluation,
            ]
        )

    @classmethod
    def from_config(cls, cfg: CfgNode) -> dict[str, Any]:
        """Builds model, data, optimizer and schedule."""
        samples_per_process(cfg)  # an error of the batch comes before the datasets are read
        dicts = train_dataset_dicts(cfg)
        samples = build_samples(cfg)
        for name in cfg.DATASETS.TEST:  # so that an error in a test set does not appear after the training
            build_evaluator(cfg, name)
            samples.check(name)
        cfg = DefaultTrainer.auto_scale_workers(cfg, comm.get_world_size())
        cfg = resolve_epochs(cfg, images_per_epoch=len(dicts))
        model = build_model(cfg)
        if cfg.TEST.LOSSES:
            check_validation(cfg, model)
        logger.info(
            "%s with %.1f million parameters; %d iterations of %d samples, %.2f epochs",
            cfg.MODEL.META_ARCHITECTURE,
            sum(parameter.numel() for parameter in model.parameters()) / 1e6,
            cfg.SOLVER.MAX_ITER,
            cfg.SOLVER.IMS_PER_BATCH,
            cfg.SOLVER.MAX_ITER * cfg.SOLVER.IMS_PER_BATCH / len(dicts),
        )
        optimizer = build_optimizer(cfg, model)
        step = TrainingStep(
            distribute(model),
            optimizer,
            clip_gradients=build_gradient_clipper(cfg),
            amp_dtype=_amp_dtype(cfg),
        )
        return {
            "step": step,
            "scheduler": build_lr_scheduler(cfg, optimizer),
            "batches": lambda seed, first: build_train_loader(cfg, dicts=dicts, seed=seed, first_batch=first),
            "order_seed": cfg.SEED if cfg.SEED >= 0 else comm.shared_random_seed(),
            "max_iter": cfg.SOLVER.MAX_ITER,
            "checkpoint_period": cfg.SOLVER.CHECKPOINT_PERIOD,
            "evaluation_period": cfg.TEST.EVAL_PERIOD,
            "evaluate": partial(evaluate, cfg, model),
            "weights": cfg.MODEL.WEIGHTS,
            "output_dir": cfg.OUTPUT_DIR,
        }

    def resume_or_load(self, resume: bool = True) -> None:
        """Loads the last checkpoint of the output folder to continue from it, or the initial weights.

        Args:
            resume: whether to continue from the last checkpoint, if there is one.

        Raises:
            CheckpointError: the weights cannot be read or do not fit the model.
            RuntimeError: the processes do not have the same last checkpoint.
        """
        content = self.checkpointer.resume_or_load(self._weights, resume=resume)
        if content:
            self.start_iter = content["iteration"] + 1
            self._order_seed = content["order_seed"]
            self._random_states = content["random"]
        starts = comm.all_gather(self.start_iter)
        if len(set(starts)) > 1:
            raise RuntimeError(
                f"the processes would begin with iterations {starts}: OUTPUT_DIR {self._output_dir} must be "
                "on a file system that all machines share"
            )

    def train(self) -> dict:
        """Trains from the first iteration, or the one after the loaded checkpoint, to the last.

        Returns:
            The metrics of the last evaluation; empty in all processes but the main one.
        """
        if comm.is_main_process():
            self._output_dir.mkdir(parents=True, exist_ok=True)
            self.register_hooks(self._build_writers())
        self._batches = iter(self._make_batches(self._order_seed, self.start_iter))
        # After the iterator is made, because it draws the seed of its workers from torch's generator.
        if len(self._random_states) == comm.get_world_size():
            random_state.restore(self._random_states[comm.get_rank()])
        self.step.model.train()
        super().train(self.start_iter, self.max_iter)
        return self._evaluation.results

    def run_step(self) -> None:
        """One iteration: a batch, a step, and the record of its metrics."""
        start = time.perf_counter()
        batch = next(self._batches)
        data_time = time.perf_counter() - start
        try:
            metrics = self.step(batch)
        except FloatingPointError as error:
            raise FloatingPointError(
                f"iteration {self.iter}: {error}. A lower SOLVER.BASE_LR, a longer warm-up or "
                "SOLVER.CLIP_GRADIENTS can help"
            ) from error
        self.storage.put_scalars(data_time=data_time, **metrics)

    def _save(self, name: str) -> None:
        """Saves a checkpoint; called in all processes, because each has its own random states."""
        states = comm.gather(random_state.capture())
        self.checkpointer.save(name, iteration=self.iter, order_seed=self._order_seed, random=states)

    def _build_writers(self) -> Sequence[HookBase]:
        metrics = self._output_dir / "metrics.json"
        if self.start_iter == 0:
            _rename_existing(metrics)
        end_last_line(metrics)
        writers = [
            CommonMetricPrinter(self.max_iter),
            JSONWriter(str(metrics)),
            TensorboardXWriter(str(self._output_dir)),
        ]
        return [
            ProgressBar(),
            hooks.PeriodicWriter(writers, period=LOG_PERIOD),
            PlotCurves(metrics, self._output_dir / "curves.png"),
        ]

    @staticmethod
    def test(cfg: CfgNode, model: nn.Module) -> dict:
        """:func:`posecore.engine.evaluate.evaluate` under the name of Detectron2's trainers."""
        return evaluate(cfg, model)


def distribute(model: nn.Module) -> nn.Module:
    """The model in ``DistributedDataParallel`` where there are several processes."""
    if comm.get_world_size() == 1:
        return model
    on_gpu = next(model.parameters()).is_cuda
    devices = [torch.cuda.current_device()] if on_gpu else None
    return DistributedDataParallel(model, device_ids=devices, broadcast_buffers=False)


def _amp_dtype(cfg: CfgNode) -> torch.dtype | None:
    dtype = choice(cfg, "SOLVER.AMP.DTYPE", AMP_DTYPES)
    return dtype if cfg.SOLVER.AMP.ENABLED else None


def _rename_existing(file: Path) -> None:
    """Renames the file of an earlier training, so that each file belongs to one training."""
    if file.exists():
        numbered = (file.with_suffix(f".{number}{file.suffix}") for number in itertools.count(1))
        file.rename(next(path for path in numbered if not path.exists()))
