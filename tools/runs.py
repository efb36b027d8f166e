"""Many trainings, one after the other or as commands: what paper_tables.py and sweep.py share."""

import argparse
import os
import shlex
import subprocess
import sys
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml

from posecore.config import get_cfg
from posecore.config.merge import UsageError, merge_config
from posecore.engine.results import read_results

TRAIN_NET = Path(__file__).resolve().with_name("train_net.py")


@dataclass(frozen=True)
class Run:
    """A configuration, trained or evaluated in a folder of its own.

    Attributes:
        name: what it is called on the screen and in tables.
        config_file: the configuration.
        overrides: KEY VALUE pairs, flat.
        folder: its OUTPUT_DIR.
    """

    name: str
    config_file: Path
    overrides: tuple[str, ...]
    folder: Path

    def check(self) -> None:
        """
        Raises:
            UsageError: the configuration cannot be used, or the folder holds a run of another one.
        """
        try:
            cfg = merge_config(get_cfg(), self.config_file, [*self.overrides, "OUTPUT_DIR", str(self.folder)])
        except UsageError as error:
            raise UsageError(f"{self.name}: {error}") from error
        written = self.folder / "config.yaml"
        if written.exists():
            there = yaml.safe_load(written.read_text())
            for key, theirs, ours in _differences(there, yaml.safe_load(cfg.dump())):
                raise UsageError(
                    f"{self.folder} holds a run with {key} {theirs}, not {ours}: delete or rename it"
                )

    def command(self, *, launcher: str = "", num_gpus: int = 1, eval_only: bool = False) -> list[str]:
        """What starts it, or goes on with it from its last checkpoint.

        Args:
            launcher: replaces this Python, for instance "torchrun --nproc_per_node 8".
            num_gpus: processes on this machine.
            eval_only: evaluates MODEL.WEIGHTS instead.
        """
        options = ["--eval-only" if eval_only else "--resume"]
        if num_gpus != 1:
            options += ["--num-gpus", str(num_gpus)]
        start = shlex.split(launcher) or [sys.executable]
        config = ["--config-file", os.path.relpath(self.config_file)]
        overrides = [*self.overrides, "OUTPUT_DIR", str(self.folder)]
        return [*start, os.path.relpath(TRAIN_NET), *config, *options, *overrides]

    def metrics(self) -> dict[str, float] | None:
        """Of its end, by the last part of their names, the first task's where several share it; or None."""
        results = read_results(self.folder)
        if results is None:
            return None
        metrics: dict[str, float] = {}
        for name, value in results.items():
            metrics.setdefault(name.rpartition("/")[2], value)
        return metrics


def add_launcher(parser: argparse.ArgumentParser) -> None:
    """How a run is started: --num-gpus and --launcher."""
    parser.add_argument("--num-gpus", type=int, default=1, help="processes per run, on this machine (1)")
    parser.add_argument(
        "--launcher",
        default="",
        help="replaces this Python, such as 'torchrun --nproc_per_node 8' or 'srun -n 8 python'",
    )


def add_launch_options(parser: argparse.ArgumentParser) -> None:
    """How several are started; :func:`start` reads them."""
    add_launcher(parser)
    parser.add_argument("--eval-only", action="store_true", help="evaluate MODEL.WEIGHTS, train nothing")
    parser.add_argument(
        "--print", action="store_true", help="print the commands, one per line, instead of running them"
    )


def start(runs: Sequence[Run], options: argparse.Namespace) -> list[str]:
    """Runs, or prints, what has not come to its end; a failure does not stop the others.

    Returns:
        The names of those that failed.

    Raises:
        UsageError: before the first one starts, if any of them cannot.
    """
    for run in runs:
        run.check()
    waiting = [run for run in runs if run.metrics() is None]
    failed = []
    for number, run in enumerate(waiting, start=1):
        command = run.command(
            launcher=options.launcher, num_gpus=options.num_gpus, eval_only=options.eval_only
        )
        if options.print:
            print(shlex.join(command))
            continue
        print(f"== {number} of {len(waiting)}: {run.name}", flush=True)
        if subprocess.run(command).returncode != 0:
            failed.append(run.name)
    return failed


def markdown(columns: Iterable[str], rows: Iterable[Iterable[str]]) -> str:
    """A table."""
    lines = [list(columns), *map(list, rows)]
    lines.insert(1, ["---"] * len(lines[0]))
    return "\n".join(f"| {' | '.join(line)} |" for line in lines)


def _differences(a: Mapping, b: Mapping, prefix: str = "") -> Iterator[tuple[str, Any, Any]]:
    """Keys that both have, with other values."""
    for key in sorted(a.keys() & b.keys()):
        if isinstance(a[key], Mapping) and isinstance(b[key], Mapping):
            yield from _differences(a[key], b[key], f"{prefix}{key}.")
        elif a[key] != b[key]:
            yield f"{prefix}{key}", a[key], b[key]
