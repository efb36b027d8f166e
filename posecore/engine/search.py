"""Searches good values of configuration keys with Optuna: :class:`Search` gives its trials as runs.

A study, in the SQLite file study.db of the search's folder, knows all trials. A search that is started again
continues the trials that were interrupted, each from its last checkpoint, and then asks for new ones. A trial
is pruned by the metrics of the evaluations during its training, so TEST.EVAL_PERIOD must be set.
"""

import os
import time
import warnings
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from posecore.config import get_cfg
from posecore.config.errors import UsageError
from posecore.config.extras import require_package
from posecore.config.merge import merge_config
from posecore.engine.results import read_results
from posecore.engine.run import Run
from posecore.engine.run_lock import lock_folder
from posecore.engine.run_progress import metrics_lines
from posecore.engine.runs import Execution, describe_end
from posecore.engine.schedule import RunSource, work_off
from posecore.engine.sweeps import write_rows

if TYPE_CHECKING:
    import optuna

STUDY = "study.db"
# Statuses of a run that SIGTERM or SIGINT has ended, by itself or in the kernel: it is to be continued.
STOPPED = (143, 130, -15, -2, -9)

# From a trial and the name of a key to the value of the key.
Suggest = Callable[["optuna.Trial", str], Any]


@dataclass(frozen=True)
class SearchSpace:
    """The values that a key may take.

    Attributes:
        key: of the configuration.
        text: the space as the command line has it.
        ends: its lowest and highest value, or all of its values.
        suggest: draws a value.
    """

    key: str
    text: str
    ends: tuple[str, ...]
    suggest: Suggest


def parse_spaces(arguments: Sequence[Sequence[str]]) -> list[SearchSpace]:
    """The spaces of a command line.

    Args:
        arguments: for each key the key, a kind of :data:`KINDS`, and its values: ``SOLVER.BASE_LR log 1e-4
            1e-1``, ``SOLVER.MOMENTUM uniform 0.8 0.99``, ``MODEL.FCOS.NUM_CONVS int 1 4`` or
            ``MODEL.FCOS.NORM choice GN BN``.

    Raises:
        UsageError: a kind is not known, a value is no number, a range is empty, or a key comes twice.
    """
    spaces: list[SearchSpace] = []
    for key, *rest in arguments:
        kind, *values = rest or [""]
        if kind not in KINDS:
            raise UsageError(
                f"--search {key} must have one of {', '.join(KINDS)} behind the key, not {kind!r}: for "
                "instance `--search SOLVER.BASE_LR log 0.001 0.1`"
            )
        if any(space.key == key for space in spaces):
            raise UsageError(f"--search {key} must stand there once")
        spaces.append(SearchSpace(key, " ".join(rest), tuple(values), KINDS[kind](key, values)))
    return spaces


def _uniform(key: str, values: Sequence[str]) -> Suggest:
    low, high = _range(key, values, float)
    return lambda trial, name: trial.suggest_float(name, low, high)


def _log(key: str, values: Sequence[str]) -> Suggest:
    low, high = _range(key, values, float)
    if low <= 0:
        raise UsageError(f"--search {key} log must have values above 0, not {low}")
    return lambda trial, name: trial.suggest_float(name, low, high, log=True)


def _integer(key: str, values: Sequence[str]) -> Suggest:
    low, high = _range(key, values, int)
    return lambda trial, name: trial.suggest_int(name, low, high)


def _choice(key: str, values: Sequence[str]) -> Suggest:
    if not values or len(set(values)) < len(values):
        raise UsageError(f"--search {key} choice must have different values, not {' '.join(values)!r}")
    return lambda trial, name: trial.suggest_categorical(name, list(values))


def _range(key: str, values: Sequence[str], number: type) -> tuple[Any, Any]:
    try:
        low, high = map(number, values)
    except ValueError as error:
        raise UsageError(
            f"--search {key} must have a lowest and a highest {number.__name__}, not {' '.join(values)!r}"
        ) from error
    if not low < high:
        raise UsageError(f"--search {key}: the lowest value must be below the highest, not {low} and {high}")
    return low, high


KINDS: dict[str, Callable[[str, Sequence[str]], Suggest]] = {
    "uniform": _uniform,
    "log": _log,
    "int": _integer,
    "choice": _choice,
}


def _tpe(optuna: Any, seed: int) -> Any:
    # With constant_liar, trials at work count as bad ones, so that those beside them are not the same.
    return optuna.samplers.TPESampler(seed=seed, constant_liar=True)


def _random(optuna: Any, seed: int) -> Any:
    return optuna.samplers.RandomSampler(seed=seed)


def _qmc(optuna: Any, seed: int) -> Any:
    return optuna.samplers.QMCSampler(seed=seed)


# The options of --sampler and of --pruner.
SAMPLERS: dict[str, Callable[[Any, int], Any]] = {"tpe": _tpe, "random": _random, "qmc": _qmc}
PRUNERS: dict[str, Callable[[Any], Any]] = {
    "median": lambda optuna: optuna.pruners.MedianPruner(),
    "hyperband": lambda optuna: optuna.pruners.HyperbandPruner(),
    "none": lambda optuna: optuna.pruners.NopPruner(),
}


@dataclass(frozen=True)
class SearchSettings:
    """What a search is about; a study that is continued must have the same.

    Attributes:
        config_file: the configuration that is varied.
        overrides: KEY VALUE pairs of all trials, flat.
        spaces: what varies.
        metric: full name of the metric that is maximized, as in results.json.
    """

    config_file: Path
    overrides: tuple[str, ...]
    spaces: tuple[SearchSpace, ...]
    metric: str = "keypoints/AP"

    def check(self) -> None:
        """Checks that the configuration takes the overrides, and each key the ends of its space.

        Raises:
            UsageError: it does not; the message names the key.
        """
        for space in self.spaces:
            for value in space.ends:
                merge_config(get_cfg(), self.config_file, [*self.overrides, space.key, value])

    def describe(self) -> dict[str, Any]:
        """The settings as plain values, for the study."""
        return {
            "config": str(self.config_file),
            "overrides": list(self.overrides),
            "spaces": {space.key: space.text for space in self.spaces},
            "metric": self.metric,
        }


def open_study(
    folder: Path, settings: SearchSettings, *, sampler: str = "tpe", pruner: str = "median", seed: int = 0
) -> "optuna.Study":
    """The study of a folder, a new one if there is none.

    Args:
        folder: of the search; made if it is not there.
        settings: of the search.
        sampler: one of :data:`SAMPLERS`.
        pruner: one of :data:`PRUNERS`.
        seed: of the sampler.

    Raises:
        UsageError: Optuna is not installed, a key or a value of the settings cannot be used, or the folder
            holds a search with other settings. A new folder is then not made.
    """
    require_package("optuna", "search", "--search")
    import optuna

    settings.check()
    optuna.logging.set_verbosity(optuna.logging.WARNING)
    warnings.filterwarnings("ignore", category=optuna.exceptions.ExperimentalWarning)
    folder.mkdir(parents=True, exist_ok=True)
    try:
        study = optuna.create_study(
            storage=f"sqlite:///{(folder / STUDY).absolute()}",
            study_name="search",
            direction="maximize",
            load_if_exists=True,
        )
    # SQLite, SQLAlchemy and Optuna have errors of their own for a file that is no database, or damaged.
    except Exception as error:
        raise UsageError(f"{folder / STUDY} cannot be used as a study of Optuna: {error}") from error
    # A sampler with the seed of the first start would draw the values of the first trials again.
    study.sampler = SAMPLERS[sampler](optuna, seed + len(study.trials))
    study.pruner = PRUNERS[pruner](optuna)
    recorded = study.user_attrs.get("settings")
    for name, ours in settings.describe().items():
        if recorded is not None and recorded.get(name) != ours:
            raise UsageError(
                f"{folder / STUDY} holds a search with {name} {recorded.get(name)}, not {ours}: name another "
                "--output, or delete the folder"
            )
    study.set_user_attr("settings", settings.describe())
    return study


class Search(RunSource):
    """The trials of a study as runs, interrupted ones first.

    Args:
        study: the result of :func:`open_study`.
        settings: of the search.
        output: folder of the trials' folders.
        trials: number of trials in all, those of earlier starts included.

    Attributes:
        failed: names of the runs that have failed.
    """

    def __init__(self, study: "optuna.Study", settings: SearchSettings, *, output: Path, trials: int) -> None:
        import optuna

        self._study = study
        self._settings = settings
        self._output = output
        self._trials = trials
        self._states = optuna.trial.TrialState
        self._interrupted = [
            optuna.Trial(study, trial._trial_id) for trial in study.get_trials(states=[self._states.RUNNING])
        ]
        self._at_work: dict[str, optuna.Trial] = {}
        self._since: dict[str, float] = {}
        self._pruned: set[str] = set()
        self.failed: list[str] = []

    def take(self) -> Run | None:
        """The next trial; None if there is none."""
        if self._interrupted:
            trial = self._interrupted.pop(0)
        elif len(self._study.trials) < self._trials:
            trial = self._study.ask()
        else:
            return None
        pairs = [(space.key, str(space.suggest(trial, space.key))) for space in self._settings.spaces]
        name = f"trial-{trial.number:04d}"
        overrides = (*self._settings.overrides, *(part for pair in pairs for part in pair))
        run = Run(name, self._settings.config_file, overrides, self._output / name)
        run.check()
        self._at_work[name] = trial
        self._since[name] = time.monotonic()
        values = ", ".join(f"{key} {value}" for key, value in pairs)
        print(f"== {trial.number + 1} of {self._trials}: {name}: {values}", flush=True)
        return run

    def watch(self, run: Run) -> bool:
        """Reports the evaluations of a trial at work; whether the pruner ends it."""
        trial = self._at_work[run.name]
        known = self._study.trials[trial.number].intermediate_values
        for line in metrics_lines(run.folder):
            value, done = line.get(self._settings.metric), int(line.get("iteration", 0)) + 1
            if value is not None and done not in known:
                trial.report(value, done)
                if trial.should_prune():
                    self._pruned.add(run.name)
                    return True
        return False

    def ended(self, run: Run, status: int) -> None:
        """Reports the result of a trial that has ended."""
        trial = self._at_work.pop(run.name)
        value = (read_results(run.folder) or {}).get(self._settings.metric)
        seconds = time.monotonic() - self._since[run.name]
        if status == 0 and value is not None:
            self._study.tell(trial, value)
        elif run.name in self._pruned:
            self._study.tell(trial, state=self._states.PRUNED)
            print(f"-- {run.name}: pruned after {round(seconds)} s", flush=True)
            return
        elif status in STOPPED:
            print(f"-- {run.name}: stopped; the search goes on from its last checkpoint", flush=True)
            return
        else:
            self._study.tell(trial, state=self._states.FAIL)
            self.failed.append(run.name)
        print(describe_end(run, status, seconds), flush=True)


def start_search(
    study: "optuna.Study", settings: SearchSettings, execution: Execution, *, output: Path, trials: int
) -> list[str]:
    """Runs the trials of a study that are not done.

    Args:
        study: the result of :func:`open_study`.
        settings: of the search.
        execution: how its runs are executed; in Slurm one after the other unless it names a number of jobs.
        output, trials: see :class:`Search`.

    Returns:
        The names of the trials that failed.

    Raises:
        UsageError: a key or a value cannot be used, metrics.json is not written, a run cannot start, or
            another process works on the search.
        Stopped: this process got SIGTERM or SIGINT; the runs got it too, and have ended.
    """
    cfg = merge_config(get_cfg(), settings.config_file, settings.overrides)
    if "json" not in cfg.LOGGERS:
        raise UsageError(
            "--search reads the evaluations of its runs from metrics.json: LOGGERS must have json"
        )
    starter = execution.starter(cfg.MODEL.DEVICE, own_screens=True)
    lock = lock_folder(output)
    if lock is None:
        raise UsageError(f"another process works on the search in {output}: wait until it has ended")
    try:
        # Not before the lock is held: the trials at work of another process would seem to be interrupted.
        source = Search(study, settings, output=output, trials=trials)
        work_off(source, starter, execution.command, jobs=execution.jobs or 1)
    finally:
        os.close(lock)
    return source.failed


def write_search_tables(study: "optuna.Study", settings: SearchSettings, folder: Path) -> str:
    """Writes results.md and results.csv with a row for each trial, the best first.

    Returns:
        The table of results.md.

    Raises:
        UsageError: no trial is complete; then nothing is written.
    """
    trials = study.get_trials()
    if not any(trial.state.name == "COMPLETE" for trial in trials):
        raise UsageError(
            f"none of the {len(trials)} trials below {folder} is complete: there is nothing to table"
        )
    columns = ["trial", *(space.key for space in settings.spaces), "state", settings.metric]
    trials.sort(key=lambda trial: (trial.state.name != "COMPLETE", -(trial.value or 0), trial.number))
    rows = [
        [
            f"{trial.number:04d}",
            *(_text(trial.params, space.key) for space in settings.spaces),
            trial.state.name.lower(),
            "-" if trial.value is None else f"{trial.value:.4g}",
        ]
        for trial in trials
    ]
    return write_rows(columns, rows, folder)


def _text(values: Mapping[str, Any], name: str) -> str:
    value = values.get(name, "-")
    return f"{value:.4g}" if isinstance(value, float) else str(value)
