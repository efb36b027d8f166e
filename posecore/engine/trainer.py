"""The training loop of a configuration: :class:`Trainer`."""

import logging
import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import asdict
from functools import partial
from pathlib import Path
from typing import Any, TypeGuard

import torch
import torch.distributed as dist
from detectron2.config import CfgNode, configurable
from detectron2.engine import DefaultTrainer, HookBase, TrainerBase, hooks
from detectron2.utils import comm
from detectron2.utils.events import CommonMetricPrinter, EventStorage
from torch import nn
from torch.nn.parallel import DistributedDataParallel
from torch.optim.lr_scheduler import LRScheduler
from torch.optim.swa_utils import AveragedModel

from posecore.checkpoint.checkpointer import AVERAGES, PoseCheckpointer, WeightChoice, weight_choice
from posecore.checkpoint.weights import CheckpointError
from posecore.config.errors import UsageError
from posecore.config.options import choice
from posecore.config.yaml_text import load_yaml
from posecore.data import build_samples, build_train_loader, train_dataset_dicts
from posecore.data.digest import records_digest
from posecore.data.loader import samples_per_process
from posecore.engine import random_state
from posecore.engine.averages import average_model
from posecore.engine.determinism import operator_errors
from posecore.engine.evaluate import evaluate
from posecore.engine.hooks import AverageWeights, Evaluate, PlotCurves, ProgressBar, SaveCheckpoint
from posecore.engine.loggers import LoggedRun, MakeWriter, chosen_loggers, json_lines
from posecore.engine.norm_statistics import average_norm_statistics
from posecore.engine.run_progress import METRICS
from posecore.engine.signals import Stopped, StopSignals
from posecore.engine.solver import (
    build_gradient_clipper,
    build_lr_scheduler,
    build_optimizer,
    resolve_epochs,
)
from posecore.engine.step import TrainingStep
from posecore.engine.validation import check_validation
from posecore.env import TrainingRecord
from posecore.evaluation import build_evaluator
from posecore.modeling.build import build_model
from posecore.structures.skeleton import load_skeleton

logger = logging.getLogger(__name__)

# Iterations between two lines of progress, and of metrics.json.
LOG_PERIOD = 20
AMP_DTYPES = {"bfloat16": torch.bfloat16, "float16": torch.float16}


class Trainer(TrainerBase):
    """Detectron2's training loop with this project's steps, checkpoints and metrics.

    ``Trainer(cfg)`` builds all parts; call :meth:`resume_or_load` and then :meth:`train`. A training that is
    stopped after a checkpoint and resumed gets the same samples in the same order as without the stop, and
    ends with the same weights. Learning rates and all other settings of the optimizer are those of the
    configuration, also in a training that is resumed with another one.
    """

    @configurable
    def __init__(
        self,
        *,
        step: TrainingStep,
        scheduler: LRScheduler,
        batches: Callable[[int, int], Iterable[list[dict[str, Any]]]],
        order_seed: int,
        samples_digest: str,
        max_iter: int,
        checkpoint_period: int,
        evaluation_period: int,
        evaluate: Callable[[], dict],
        weights: str,
        output_dir: str | Path,
        loggers: Sequence[MakeWriter],
        record: TrainingRecord,
        averages: AveragedModel | None = None,
        weight_choice: WeightChoice = "auto",
    ) -> None:
        """
        Args:
            step: trains the model on a batch; its optimizer and scaler are saved with the model.
            scheduler: of the step's optimizer, stepped after each iteration.
            batches: takes the seed of the order of images and the number of the first batch, and returns the
                endless batches of this process.
            order_seed: that seed, the same in all processes; a resumed training keeps that of its checkpoint.
            samples_digest: a text that other training samples would not have.
            max_iter: iterations to train.
            checkpoint_period: iterations between two checkpoints; 0 for one at the end only.
            evaluation_period: iterations between two evaluations; 0 for one at the end only.
            evaluate: returns metrics, nested by task; called in all processes.
            weights: initial weights of a training that is not resumed, as MODEL.WEIGHTS can be.
            output_dir: folder for checkpoints, metrics.json and other files.
            loggers: make the writers of the metrics.
            record: what checkpoints say of the training.
            averages: moving averages of the weights, updated after each iteration and saved with the model;
                None for none.
            weight_choice: which of the initial weights are taken, where they are of a checkpoint that holds
                averages too.
        """
        super().__init__()
        self.step = step
        self.scheduler = scheduler
        self.optimizer = step.optimizer
        self.max_iter = max_iter
        self._make_batches = batches
        self._order_seed = order_seed
        self._samples_digest = samples_digest
        self._signals = StopSignals()
        self._saved_iter = -1
        self._random_states: list[dict[str, Any]] = []
        self._weights = weights
        self._weight_choice = weight_choice
        self._output_dir = Path(output_dir)
        self._loggers = loggers
        self._record = record
        self.checkpointer = PoseCheckpointer(
            step.model, str(output_dir), optimizer=step.optimizer, scheduler=scheduler
        )
        if step.scaler.is_enabled():
            self.checkpointer.add_checkpointable("scaler", step.scaler)
        if averages is not None:
            self.checkpointer.add_checkpointable(AVERAGES, averages)
        self._averages = averages
        averaging = [] if averages is None else [AverageWeights(averages, self.checkpointer.model)]
        self._evaluate = evaluate
        self._evaluation = Evaluate(evaluation_period, self._evaluate_or_stop)
        self.register_hooks(
            [
                hooks.IterationTimer(),
                hooks.LRScheduler(self.optimizer, scheduler),
                *averaging,
                SaveCheckpoint(self._save, checkpoint_period, self._stop_signal),
                self._evaluation,
            ]
        )

    @classmethod
    def from_config(cls, cfg: CfgNode) -> dict[str, Any]:
        """Builds model, data, optimizer and schedule."""
        cfg = DefaultTrainer.auto_scale_workers(cfg, comm.get_world_size())
        samples_per_process(cfg)  # an error of the batch comes before the datasets are read
        loggers = chosen_loggers(cfg)
        dicts = train_dataset_dicts(cfg)
        samples = build_samples(cfg)
        for name in cfg.DATASETS.TEST:  # so that an error in a test set does not appear after the training
            build_evaluator(cfg, name)
            samples.check(name)
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
        averages = average_model(model, cfg.SOLVER.EMA.DECAY) if cfg.SOLVER.EMA.ENABLED else None
        weights = weight_choice(cfg)
        evaluated = model if averages is None or weights == "trained" else averages.module
        optimizer = build_optimizer(cfg, model)
        step = TrainingStep(
            distribute(model),
            optimizer,
            clip_gradients=build_gradient_clipper(cfg),
            amp_dtype=amp_dtype(cfg),
            num_parts=cfg.SOLVER.ACCUMULATION_STEPS,
        )
        return {
            "step": step,
            "scheduler": build_lr_scheduler(cfg, optimizer),
            "batches": lambda seed, first: build_train_loader(cfg, dicts=dicts, seed=seed, first_batch=first),
            "order_seed": cfg.SEED if cfg.SEED >= 0 else comm.shared_random_seed(),
            "samples_digest": records_digest(dicts),
            "max_iter": cfg.SOLVER.MAX_ITER,
            "checkpoint_period": cfg.SOLVER.CHECKPOINT_PERIOD,
            "evaluation_period": cfg.TEST.EVAL_PERIOD,
            "evaluate": partial(evaluate, cfg, evaluated),
            "weights": cfg.MODEL.WEIGHTS,
            "output_dir": cfg.OUTPUT_DIR,
            "averages": averages,
            "weight_choice": weights,
            "loggers": loggers,
            "record": TrainingRecord.of(cfg.dump(), load_skeleton(cfg.DATASETS.SKELETON)),
        }

    def resume_or_load(self, resume: bool = True) -> None:
        """Loads the last checkpoint of the output folder to continue from it, or the initial weights.

        Args:
            resume: whether to continue from the last checkpoint, if there is one.

        Raises:
            CheckpointError: the weights cannot be read or do not fit the model.
            RuntimeError: the processes do not have the same last checkpoint.
        """
        settings = [{**group, "params": None} for group in self.optimizer.param_groups]
        base_lrs = list(self.scheduler.base_lrs)
        content = self.checkpointer.resume_or_load(self._weights, resume=resume, weights=self._weight_choice)
        if content:
            if AVERAGES in content:
                logger.warning("SOLVER.EMA.ENABLED is False: the averaged weights so far are given up")
            self._take(content, self.checkpointer.get_checkpoint_file())
            self._keep_settings(settings, base_lrs)
        starts = comm.all_gather(self.start_iter)
        if len(set(starts)) > 1:
            raise RuntimeError(
                f"the processes would begin with iterations {starts}: OUTPUT_DIR {self._output_dir} must be "
                "on a file system that all machines share"
            )

    def _keep_settings(self, settings: list[dict[str, Any]], base_lrs: list[Any]) -> None:
        """Gives optimizer and schedule the configuration's settings back after a checkpoint is loaded."""
        for group, own in zip(self.optimizer.param_groups, settings, strict=True):
            group.update({key: value for key, value in own.items() if key != "params"})
        self.scheduler.base_lrs = base_lrs
        if self.start_iter < self.max_iter:  # the schedule is not defined after its end
            for group, rate in zip(self.optimizer.param_groups, self.scheduler.get_lr(), strict=True):
                group["lr"] = rate

    def _take(self, content: dict[str, Any], file: str) -> None:
        """Takes the place in the training, the order and the random states from a checkpoint."""
        iteration, seed, states = (content.get(key) for key in ("iteration", "order_seed", "random"))
        if not (_is_count(iteration) and _is_count(seed) and seed < 2**63 and isinstance(states, list)):
            raise CheckpointError(
                f"{file} is not the checkpoint of a training: iteration and order_seed must be whole numbers "
                "and not negative, and random a list"
            )
        if len(states) == comm.get_world_size():
            try:
                random_state.check(states[comm.get_rank()])
            except ValueError as error:
                raise CheckpointError(f"{file}: {error}") from error
        else:
            logger.warning(
                "%s was saved by %d processes, and there are %d: the random numbers of the model begin anew",
                file,
                len(states),
                comm.get_world_size(),
            )
        if content.get("samples", self._samples_digest) != self._samples_digest:
            logger.warning(
                "%s was trained with other samples (%s) than those of DATASETS.TRAIN now (%s)",
                file,
                content["samples"],
                self._samples_digest,
            )
        if iteration + 1 > self.max_iter:
            logger.warning(
                "%s has %d iterations, more than SOLVER.MAX_ITER %d: it is evaluated as it is",
                file,
                iteration + 1,
                self.max_iter,
            )
        self.start_iter = iteration + 1
        self._saved_iter = iteration
        self._order_seed = seed
        self._random_states = states

    def batches(self) -> Iterator[list[dict[str, Any]]]:
        """The endless batches of this process, from the first iteration or the one after the checkpoint."""
        return iter(self._make_batches(self._order_seed, self.start_iter))

    def train(self) -> dict:
        """Trains from the first iteration, or the one after the loaded checkpoint, to the last.

        Returns:
            The metrics of the last evaluation; empty in all processes but the main one.

        Raises:
            Stopped: a process got SIGTERM or SIGINT; a checkpoint of the last iteration is saved.
        """
        if comm.is_main_process():
            self._output_dir.mkdir(parents=True, exist_ok=True)
            self.register_hooks(self._build_writers())
        self._batches = self.batches()
        # After the iterator is made, because it draws the seed of its workers from torch's generator.
        if len(self._random_states) == comm.get_world_size():
            random_state.restore(self._random_states[comm.get_rank()])
        self.step.model.train()
        try:
            with self._signals:
                self._train()
        finally:
            self._batches = iter(())  # ends the loader's workers
        return self._evaluation.results

    def _train(self) -> None:
        """Detectron2's loop; an error that the user can mend gets no traceback in the log."""
        logger.info("Starting training from iteration %d", self.start_iter)
        self.iter = self.start_iter
        with EventStorage(self.start_iter) as self.storage:
            try:
                self.before_train()
                for iteration in range(self.start_iter, self.max_iter):
                    self.iter = iteration
                    self.before_step()
                    self.run_step()
                    self.after_step()
                # As in Detectron2, after_train sees by it that the training is done.
                self.iter = max(self.start_iter, self.max_iter)
            except UsageError as error:
                logger.error("Iteration %d: %s", self.iter, error)
                raise
            except Exception:
                logger.exception("Iteration %d:", self.iter)
                raise
            finally:
                self.after_train()

    def run_step(self) -> None:
        """One iteration: a batch, a step, and the record of its metrics."""
        start = time.perf_counter()
        batch = next(self._batches)
        data_time = time.perf_counter() - start
        try:
            with operator_errors():
                metrics = self.step(batch)
        except FloatingPointError as error:
            raise FloatingPointError(
                f"iteration {self.iter}: {error}. A lower SOLVER.BASE_LR, a longer warm-up or "
                "SOLVER.CLIP_GRADIENTS can help"
            ) from error
        self.storage.put_scalars(data_time=data_time, **metrics)

    def _save(self, name: str) -> None:
        """Saves a checkpoint; called in all processes, because each has its own random states."""
        self._average_norm_statistics()
        self._write(name, comm.gather(random_state.capture()))

    def _write(self, name: str, states: list[dict[str, Any]]) -> None:
        self._saved_iter = min(self.iter, self.max_iter - 1)
        self.checkpointer.save(
            name,
            iteration=self._saved_iter,
            order_seed=self._order_seed,
            random=states,
            samples=self._samples_digest,
            record=asdict(self._record),
        )

    def _average_norm_statistics(self) -> None:
        """Makes the networks of all processes one, before they are saved or evaluated."""
        averages = [] if self._averages is None else [self._averages]
        average_norm_statistics(self.step.model, *averages)

    def _stop_signal(self) -> int:
        """The number of a signal that a process got, the same in all processes; 0 if none did."""
        if comm.get_world_size() == 1:
            return self._signals.received
        number = torch.tensor(self._signals.received, device=next(self.step.model.parameters()).device)
        dist.all_reduce(number, dist.ReduceOp.MAX)
        return int(number)

    def _evaluate_or_stop(self) -> dict:
        """Evaluates; a signal meanwhile ends it, with a checkpoint of this iteration."""
        # Before, because a process that stops in an evaluation cannot exchange anything with the others.
        self._average_norm_statistics()
        states = comm.gather(random_state.capture())
        try:
            with self._signals.at_once("in an evaluation: it is left out, and --resume goes on after it"):
                return self._evaluate()
        except BaseException:
            # Where another process has stopped already, an exchange fails before this one sees the signal.
            if not self._signals.received:
                raise
            if self._saved_iter < min(self.iter, self.max_iter - 1):
                self._write(f"model_{self.iter:07d}", states)
            raise Stopped(self._signals.received) from None

    def _build_writers(self) -> Sequence[HookBase]:
        run = LoggedRun(
            self._output_dir,
            resumed=self.start_iter > 0,
            max_iter=self.max_iter,
            config=load_yaml(self._record.config),
        )
        writers = [CommonMetricPrinter(self.max_iter), *(make(run) for make in self._loggers)]
        built: list[HookBase] = [ProgressBar(), hooks.PeriodicWriter(writers, period=LOG_PERIOD)]
        if json_lines in self._loggers:
            built.append(PlotCurves(self._output_dir / METRICS, self._output_dir / "curves.png"))
        return built

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


def amp_dtype(cfg: CfgNode) -> torch.dtype | None:
    """The half-precision type of training that SOLVER.AMP asks for; None for none."""
    dtype = choice(cfg, "SOLVER.AMP.DTYPE", AMP_DTYPES)
    return dtype if cfg.SOLVER.AMP.ENABLED else None


def _is_count(value: object) -> TypeGuard[int]:
    return type(value) is int and value >= 0
