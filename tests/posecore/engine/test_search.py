"""Searches with the real optuna: what is tried, what is pruned, and that a killed search goes on."""

import os
import signal
import sys
import time
from pathlib import Path

import pytest
from helpers.stand_in_training import LAUNCHER, forked, notes

from posecore.config.merge import UsageError
from posecore.config.repository import CONFIGS
from posecore.engine.runs import Execution
from posecore.engine.search import (
    STUDY,
    SearchSettings,
    open_study,
    parse_spaces,
    start_search,
    write_search_tables,
)

pytestmark = pytest.mark.long

optuna = pytest.importorskip("optuna", reason="optuna is not installed (requirements/search.txt)")

CONFIG = CONFIGS / "directpose/demo/synthetic.yaml"
RATE = ["SOLVER.BASE_LR", "uniform", "0.0", "1.0"]


def make_settings(*spaces: list[str], **overrides: str) -> SearchSettings:
    flat = tuple(part for key, value in overrides.items() for part in (f"SOLVER.{key}", value))
    return SearchSettings(CONFIG, flat, tuple(parse_spaces(spaces or (RATE,))))


def run_search(settings: SearchSettings, folder: Path, trials: int, pruner="none", **execution) -> list[str]:
    study = open_study(folder, settings, sampler="random", pruner=pruner)
    return start_search(
        study, settings, Execution(launcher=LAUNCHER, **execution), output=folder, trials=trials
    )


@pytest.mark.parametrize(
    ("space", "message"),
    [
        (["SOLVER.BASELR", "log", "0.001", "0.1"], r"unknown config key SOLVER\.BASELR"),
        (["SOLVER.MAX_ITER", "choice", "5", "many"], r"MAX_ITER"),
    ],
)
def test_nothing_is_written_for_a_key_or_value_that_is_wrong(tmp_path: Path, space, message) -> None:
    with pytest.raises(UsageError, match=message):
        open_study(tmp_path / "search", make_settings(space))
    assert not (tmp_path / "search").exists()


def trials_of(folder: Path) -> list:
    return optuna.load_study(study_name=None, storage=f"sqlite:///{folder / STUDY}").trials


def test_every_kind_of_space_is_suggested() -> None:
    spaces = parse_spaces(
        [
            RATE,
            ["SOLVER.GAMMA", "log", "1e-3", "1"],
            ["MODEL.FCOS.NUM_CONVS", "int", "1", "4"],
            ["MODEL.FCOS.NORM", "choice", "GN", "BN"],
        ]
    )
    trial = optuna.trial.FixedTrial(
        {"SOLVER.BASE_LR": 0.25, "SOLVER.GAMMA": 0.01, "MODEL.FCOS.NUM_CONVS": 3, "MODEL.FCOS.NORM": "BN"}
    )
    assert [space.suggest(trial, space.key) for space in spaces] == [0.25, 0.01, 3, "BN"]
    assert trial.distributions["SOLVER.GAMMA"].log


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ([["SEED"]], "--search SEED must have one of uniform, log, int, choice behind the key, not ''"),
        ([["SEED", "normal", "1"]], "not 'normal'"),
        ([["SEED", "int", "1"]], "must have a lowest and a highest int, not '1'"),
        ([["SEED", "int", "1", "x"]], "must have a lowest and a highest int, not '1 x'"),
        ([["SEED", "int", "2", "2"]], "the lowest value must be below the highest, not 2 and 2"),
        ([["A", "log", "0", "1"]], "must have values above 0"),
        ([["A", "choice", "a", "a"]], "must have different values"),
        ([["A", "int", "1", "2"], ["A", "int", "1", "2"]], "--search A must stand there once"),
    ],
)
def test_spaces_that_make_no_sense(arguments: list[list[str]], message: str) -> None:
    with pytest.raises(UsageError, match=message):
        parse_spaces(arguments)


def test_an_optuna_search_finds_its_best_and_goes_on(tmp_path: Path, capsys: pytest.CaptureFixture) -> None:
    settings = make_settings()
    assert run_search(settings, tmp_path, 4, jobs=2) == []
    trials = trials_of(tmp_path)
    assert [trial.state.name for trial in trials] == ["COMPLETE"] * 4
    for trial in trials:
        assert trial.value == pytest.approx(100 * (1 - abs(trial.params["SOLVER.BASE_LR"] - 0.5)))
    assert "== 4 of 4: trial-0003: SOLVER.BASE_LR 0." in capsys.readouterr().out

    assert run_search(settings, tmp_path, 6) == []
    trials = trials_of(tmp_path)
    assert len({trial.params["SOLVER.BASE_LR"] for trial in trials}) == 6  # no value comes again
    study = open_study(tmp_path, settings)
    table = write_search_tables(study, settings, tmp_path).splitlines()
    assert table[0] == "| trial | SOLVER.BASE_LR | state | keypoints/AP |"
    best = max(trials, key=lambda trial: trial.value)
    assert table[2].startswith(f"| {best.number:04d} | ")
    assert run_search(settings, tmp_path, 6) == []
    assert len(trials_of(tmp_path)) == 6


def test_a_trial_that_falls_behind_is_pruned(tmp_path: Path, capsys: pytest.CaptureFixture) -> None:
    settings = make_settings(MAX_ITER="400")
    study = open_study(tmp_path, settings, sampler="random", pruner="median")
    for _ in range(6):
        earlier = study.ask()
        earlier.suggest_float("SOLVER.BASE_LR", 0.0, 1.0)
        earlier.report(100.0, 1)
        study.tell(earlier, 100.0)
    execution = Execution(launcher=LAUNCHER)
    assert start_search(study, settings, execution, output=tmp_path, trials=7) == []
    last = study.trials[6]
    assert last.state.name == "PRUNED"
    (note,) = notes(tmp_path / "trial-0006")
    assert not note["ended"]  # the run saved and ended early
    assert min(last.intermediate_values) == 1
    assert last.intermediate_values[1] == pytest.approx(
        100 * (1 - abs(last.params["SOLVER.BASE_LR"] - 0.5)) / 400
    )
    assert "-- trial-0006: pruned after" in capsys.readouterr().out


def test_other_settings_are_refused(tmp_path: Path) -> None:
    open_study(tmp_path, make_settings())
    with pytest.raises(UsageError, match=r"study\.db holds a search with spaces .*SOLVER\.GAMMA"):
        open_study(tmp_path, make_settings(["SOLVER.GAMMA", "uniform", "0", "1"]))
    with pytest.raises(UsageError, match="holds a search with overrides"):
        open_study(tmp_path, make_settings(MAX_ITER="9"))


def test_trials_that_fail_are_counted_and_named(tmp_path: Path) -> None:
    settings = make_settings(["SEED", "choice", "13"])
    assert run_search(settings, tmp_path, 2) == ["trial-0000", "trial-0001"]
    assert [trial.state.name for trial in trials_of(tmp_path)] == ["FAIL", "FAIL"]
    with pytest.raises(UsageError, match="none of the 2 trials"):
        write_search_tables(open_study(tmp_path, settings), settings, tmp_path)


def test_a_search_needs_the_metrics_file(tmp_path: Path) -> None:
    settings = SearchSettings(CONFIG, ("LOGGERS", "('tensorboard',)"), tuple(parse_spaces([RATE])))
    with pytest.raises(UsageError, match="LOGGERS must have json"):
        run_search(settings, tmp_path, 1)


def search(folder: Path) -> None:
    """What tools/sweep.py does with --search; the process ends with its status."""
    failed = run_search(make_settings(MAX_ITER="100"), folder, 3, jobs=2)
    sys.exit(len(failed))


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGKILL])
def test_a_search_goes_on_after(number: signal.Signals, tmp_path: Path) -> None:
    first = forked(search, tmp_path)
    end = time.monotonic() + 300
    while not all((tmp_path / f"trial-000{n}" / "metrics.json").is_file() for n in range(2)):
        assert time.monotonic() < end
        assert first.is_alive()
        time.sleep(0.05)
    os.kill(first.pid, number)
    first.join(timeout=300)
    assert first.exitcode == (-9 if number == signal.SIGKILL else 128 + number)
    assert [trial.state.name for trial in trials_of(tmp_path)] == ["RUNNING"] * 2
    again = forked(search, tmp_path)
    again.join(timeout=300)
    assert again.exitcode == 0
    trials = trials_of(tmp_path)
    assert [trial.state.name for trial in trials] == ["COMPLETE"] * 3
    for n in range(2):
        interrupted, last = notes(tmp_path / f"trial-000{n}")
        assert not interrupted["ended"]
        assert last["first"] > 0
        assert last["ended"]
