"""Hooks of the training loop that Detectron2 does not have: averages, checkpoints, evaluation, progress bar,
plots.
"""

import logging
import math
import signal
import sys
from collections.abc import Callable
from pathlib import Path
from typing import TextIO

from detectron2.engine import HookBase
from detectron2.utils import comm
from torch import nn
from torch.optim.swa_utils import AveragedModel
from tqdm import tqdm

from posecore.engine.results import finite_metrics
from posecore.engine.signals import Stopped
from posecore.visualization.curves import plot_training

logger = logging.getLogger(__name__)


class SaveCheckpoint(HookBase):
    """Saves ``model_0004999`` and so on every ``period`` iterations, and ``model_final`` after the last.

    Args:
        save: takes the name of a checkpoint; called in all processes.
        period: in iterations; 0 to save only after the last.
        stop_signal: the number of a signal that one of the processes got, the same in all of them; 0 if none
            did. A signal saves a checkpoint and ends the training.
    """

    def __init__(
        self, save: Callable[[str], None], period: int, stop_signal: Callable[[], int] = lambda: 0
    ) -> None:
        self._save = save
        self._period = period
        self._stop_signal = stop_signal

    def after_step(self) -> None:
        """
        Raises:
            Stopped: a process got a signal; the checkpoint is saved.
        """
        done = self.trainer.iter + 1
        stop = self._stop_signal()
        is_last = done == self.trainer.max_iter
        name = "model_final" if is_last else f"model_{self.trainer.iter:07d}"
        if is_last or stop or (self._period > 0 and done % self._period == 0):
            self._save(name)
        if stop:
            # No process may end while the main one still writes: launchers then end the others.
            comm.synchronize()
            if comm.is_main_process():
                logger.warning(
                    "%s: stopped after iteration %d; %s.pth is saved, and --resume goes on from it",
                    signal.Signals(stop).name,
                    self.trainer.iter,
                    name,
                )
            raise Stopped(stop)


class AverageWeights(HookBase):
    """Averages the weights after each iteration; must come before checkpoints and evaluations.

    Args:
        averages: as :func:`posecore.engine.averages.average_model` makes them.
        model: the trained model, not in ``DistributedDataParallel``.
    """

    def __init__(self, averages: AveragedModel, model: nn.Module) -> None:
        self._averages = averages
        self._model = model

    def after_step(self) -> None:
        self._averages.update_parameters(self._model)


class Evaluate(HookBase):
    """Evaluates every ``period`` iterations and after the last, and records the finite metrics.

    Unlike Detectron2's ``EvalHook`` it does not evaluate a training that fails in its last iteration.

    Args:
        period: in iterations; 0 to evaluate only after the last.
        evaluate: called in all processes; returns metrics, nested by task.
    """

    def __init__(self, period: int, evaluate: Callable[[], dict]) -> None:
        self._period = period
        self._evaluate = evaluate
        self.results: dict = {}

    def after_step(self) -> None:
        done = self.trainer.iter + 1
        if self._period > 0 and done % self._period == 0 and done != self.trainer.max_iter:
            self._record()

    def after_train(self) -> None:
        if self.trainer.iter >= self.trainer.max_iter:
            self._record()

    def _record(self) -> None:
        self.results = self._evaluate()
        self.trainer.storage.put_scalars(**finite_metrics(self.results), smoothing_hint=False)
        comm.synchronize()


class ProgressBar(HookBase):
    """A progress bar with the remaining time and the loss, if the output is a terminal."""

    def __init__(self, file: TextIO = sys.stderr) -> None:
        self._file = file

    def before_train(self) -> None:
        self._bar = tqdm(
            total=self.trainer.max_iter,
            initial=self.trainer.start_iter,
            file=self._file,
            disable=not self._file.isatty(),
            dynamic_ncols=True,
        )

    def after_step(self) -> None:
        loss = self.trainer.storage.latest().get("total_loss", (math.nan,))[0]
        self._bar.set_postfix(loss=f"{loss:.3f}", refresh=False)
        self._bar.update()

    def after_train(self) -> None:
        self._bar.close()


class PlotCurves(HookBase):
    """Plots losses and AP over the iterations after a training; must come after the writers of metrics."""

    def __init__(self, metrics_json: Path, out_png: Path) -> None:
        self._metrics_json = metrics_json
        self._out_png = out_png

    def after_train(self) -> None:
        if self.trainer.start_iter < self.trainer.max_iter <= self.trainer.iter:
            try:
                plot_training(self._metrics_json, self._out_png)
            except Exception as error:  # Whatever goes wrong here, a plot must not cost the results.
                logger.warning("the curves %s are not plotted: %s", self._out_png, error)


def end_last_line(metrics_json: Path) -> None:
    """Ends the last line of a file that was cut, so that those of a resumed training stay apart from it."""
    if not metrics_json.is_file() or not metrics_json.stat().st_size:
        return
    with metrics_json.open("rb+") as file:
        file.seek(-1, 2)
        if file.read(1) != b"\n":
            file.write(b"\n")
