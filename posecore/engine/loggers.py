"""Where the metrics of a training go, the key LOGGERS: :data:`LOGGERS` has a writer for each of its values.

The files of JSON lines and of TensorBoard are in OUTPUT_DIR. Weights & Biases and MLflow are optional
packages (requirements/wandb.txt, mlflow.txt); both keep their records in OUTPUT_DIR as well unless their own
environment variables name a server. A resumed training goes on with the same run there.
"""

import itertools
import logging
import os
import time
from abc import abstractmethod
from collections import defaultdict
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from detectron2.config import CfgNode
from detectron2.utils.events import EventWriter, JSONWriter, TensorboardXWriter, get_event_storage

from posecore.config import get_cfg
from posecore.config.differences import differences
from posecore.config.extras import require_package
from posecore.config.options import choices
from posecore.config.yaml_text import load_yaml
from posecore.engine.hooks import end_last_line
from posecore.engine.run_progress import METRICS

logger = logging.getLogger(__name__)

PROJECT = "posecore"
# Parameters of one request; MLflow takes at most 100.
MLFLOW_PARAMETERS = 100


@dataclass(frozen=True)
class LoggedRun:
    """A training whose metrics are logged.

    Attributes:
        output_dir: OUTPUT_DIR.
        resumed: whether it goes on from a checkpoint.
        max_iter: its iterations.
        config: the whole configuration, nested.
    """

    output_dir: Path
    resumed: bool
    max_iter: int
    config: Mapping[str, Any]


MakeWriter = Callable[[LoggedRun], EventWriter]


def chosen_loggers(cfg: CfgNode) -> tuple[MakeWriter, ...]:
    """What makes the writers of the key LOGGERS, in its order.

    Raises:
        ValueError: LOGGERS is empty or has another name.
        UsageError: a package that a logger needs is not installed.
    """
    for name in cfg.LOGGERS:
        if name in PACKAGES:
            require_package(name, name, f"LOGGERS {name!r}")
    return choices(cfg, "LOGGERS", LOGGERS)


def json_lines(run: LoggedRun) -> EventWriter:
    """OUTPUT_DIR/metrics.json; that of an earlier training is renamed, that of a resumed one continued."""
    metrics = run.output_dir / METRICS
    if not run.resumed:
        _rename_existing(metrics)
    end_last_line(metrics)
    return JSONWriter(str(metrics))


def tensorboard(run: LoggedRun) -> EventWriter:
    """Event files in OUTPUT_DIR."""
    return TensorboardXWriter(str(run.output_dir))


class ServiceWriter(EventWriter):
    """Writes metrics to a service; a failure there is logged and does not end the training.

    What could not be written is tried again with the next metrics, as far as it is still the latest value.
    """

    def __init__(self, run: LoggedRun) -> None:
        self._last = -1
        self._max_iter = run.max_iter

    @abstractmethod
    def send(self, iteration: int, metrics: Mapping[str, float]) -> None:
        """Writes the metrics of an iteration."""

    @abstractmethod
    def finish(self, complete: bool) -> None:
        """Ends the record; ``complete`` if the training has reached its last iteration."""

    def write(self) -> None:
        """Sends the metrics of the iteration."""
        news: dict[int, dict[str, float]] = defaultdict(dict)
        for name, (value, iteration) in get_event_storage().latest_with_smoothing_hint().items():
            if iteration > self._last:
                news[iteration][name] = value
        for iteration in sorted(news):
            try:
                self.send(iteration, news[iteration])
            except Exception as error:  # Whatever a service raises, it must not cost the training.
                logger.warning("%s: iteration %d is not logged: %s", type(self).__name__, iteration, error)
                return
            self._last = iteration

    def close(self) -> None:
        """Ends the run."""
        try:
            self.finish(complete=get_event_storage().iter >= self._max_iter)
        except Exception as error:
            logger.warning("%s: the record is not ended: %s", type(self).__name__, error)


class WandbWriter(ServiceWriter):
    """Writes a run of Weights & Biases, in OUTPUT_DIR/wandb.

    It is offline unless the environment's WANDB_MODE says otherwise; `wandb sync` uploads it later. The
    project is WANDB_PROJECT or "posecore". Metrics are over "iteration", because the steps of W&B never go
    back, as a training does that is resumed from an earlier checkpoint.
    """

    def __init__(self, run: LoggedRun) -> None:
        super().__init__(run)
        import wandb

        identity = RunIdentity(run, "wandb_run.txt")
        mode: Any = os.environ.get("WANDB_MODE", "offline")
        self._run = wandb.init(
            project=os.environ.get("WANDB_PROJECT", PROJECT),
            name=run.output_dir.resolve().name,
            dir=str(run.output_dir),
            mode=mode,
            id=identity.read() or None,
            resume="allow",
            config=dict(run.config),
        )
        identity.write(self._run.id)
        self._run.define_metric("*", step_metric="iteration")

    def send(self, iteration: int, metrics: Mapping[str, float]) -> None:
        """Sends the metrics of an iteration."""
        self._run.log({**metrics, "iteration": iteration})

    def finish(self, complete: bool) -> None:
        """Ends the run at the service."""
        self._run.finish(exit_code=0 if complete else 1)


class MlflowWriter(ServiceWriter):
    """Writes a run of MLflow, in the file store OUTPUT_DIR/mlruns or at MLFLOW_TRACKING_URI.

    Its parameters are the values that differ from the defaults, and the whole configuration is its artifact
    config.yaml. The experiment is MLFLOW_EXPERIMENT_NAME or "posecore".
    """

    def __init__(self, run: LoggedRun) -> None:
        super().__init__(run)
        # MLflow asks for this word where files are used instead of a database.
        os.environ.setdefault("MLFLOW_ALLOW_FILE_STORE", "true")
        from mlflow import MlflowClient
        from mlflow.entities import Metric, Param

        self._metric = Metric
        store = (run.output_dir / "mlruns").resolve().as_uri()
        self._client = MlflowClient(tracking_uri=os.environ.get("MLFLOW_TRACKING_URI", store))
        identity = RunIdentity(run, "mlflow_run.txt")
        known = identity.read()
        if known:
            self._id = known
            self._client.update_run(self._id, status="RUNNING")
        else:
            experiment = os.environ.get("MLFLOW_EXPERIMENT_NAME", PROJECT)
            found = self._client.get_experiment_by_name(experiment)
            number = found.experiment_id if found else self._client.create_experiment(experiment)
            created = self._client.create_run(number, run_name=run.output_dir.resolve().name)
            self._id = created.info.run_id
            identity.write(self._id)
            parameters = [Param(key, str(value)) for key, value in changed_values(run.config)]
            for group in _batched(parameters, MLFLOW_PARAMETERS):
                self._client.log_batch(self._id, params=group)
        recorded = run.output_dir / "config.yaml"
        if recorded.is_file():
            self._client.log_artifact(self._id, str(recorded))

    def send(self, iteration: int, metrics: Mapping[str, float]) -> None:
        """Sends the metrics of an iteration."""
        now = int(time.time() * 1000)
        self._client.log_batch(
            self._id, metrics=[self._metric(name, value, now, iteration) for name, value in metrics.items()]
        )

    def finish(self, complete: bool) -> None:
        """Ends the run at the service."""
        self._client.set_terminated(self._id, status="FINISHED" if complete else "KILLED")


class RunIdentity:
    """The name that a service gave to a run, kept in OUTPUT_DIR, by which a resumed training finds it."""

    def __init__(self, run: LoggedRun, file: str) -> None:
        self._file = run.output_dir / file
        if not run.resumed:
            self._file.unlink(missing_ok=True)

    def read(self) -> str:
        """The name; "" if there is none."""
        return self._file.read_text().strip() if self._file.is_file() else ""

    def write(self, name: str) -> None:
        """Keeps the name for a resumed training."""
        self._file.write_text(name)


LOGGERS: dict[str, MakeWriter] = {
    "json": json_lines,
    "tensorboard": tensorboard,
    "wandb": WandbWriter,
    "mlflow": MlflowWriter,
}
# Loggers that are packages of their own, under the same name.
PACKAGES = ("wandb", "mlflow")


def changed_values(config: Mapping[str, Any]) -> Iterator[tuple[str, Any]]:
    """Keys of a configuration whose values are not the defaults, and the values."""
    for key, _, value in differences(load_yaml(get_cfg().dump()), config):
        yield key, value


def _batched(items: Iterable[Any], size: int) -> Iterator[list[Any]]:
    rest = iter(items)
    while group := list(itertools.islice(rest, size)):
        yield group


def _rename_existing(file: Path) -> None:
    """Renames the file of an earlier training, so that each file belongs to one training."""
    if file.exists():
        numbered = (file.with_suffix(f".{number}{file.suffix}") for number in itertools.count(1))
        file.rename(next(path for path in numbered if not path.exists()))
