"""A training or an evaluation in a process of its own: :class:`Run`, and :func:`run_command`.

Tables of a paper, sweeps and submissions are made of runs. Each has a folder, by which a later start sees
whether it is done.
"""

import os
import shlex
import subprocess
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from posecore.config import get_cfg
from posecore.config.differences import differences, read_recorded
from posecore.config.merge import UsageError, merge_config
from posecore.config.repository import TRAIN_NET
from posecore.config.yaml_text import load_yaml
from posecore.engine.results import read_results
from posecore.engine.signals import Stopped, forwarding


@dataclass(frozen=True)
class Run:
    """A configuration that is trained or evaluated in a folder of its own.

    Attributes:
        name: name on the screen and in tables.
        config_file: the configuration.
        overrides: KEY VALUE pairs, flat.
        folder: its OUTPUT_DIR.
    """

    name: str
    config_file: Path
    overrides: tuple[str, ...]
    folder: Path

    def check(self) -> str:
        """Checks that the run can start.

        The device is no part of what a run is: the machine that checks may have no GPU.

        Returns:
            The value of MODEL.DEVICE on this machine.

        Raises:
            UsageError: the configuration cannot be used, the folder cannot be one, or it holds a run of
                another configuration.
        """
        try:
            cfg = merge_config(get_cfg(), self.config_file, [*self.overrides, "OUTPUT_DIR", str(self.folder)])
        except UsageError as error:
            raise UsageError(f"{self.name}: {error}") from error
        if self.folder.exists() and not self.folder.is_dir():
            raise UsageError(f"{self.folder} is a file, where the folder of a run should be")
        try:
            recorded = read_recorded(self.folder / "config.yaml")
        except ValueError as error:
            raise UsageError(f"{error}: delete or rename it") from error
        for key, theirs, ours in differences(recorded, load_yaml(cfg.dump())):
            if key != "MODEL.DEVICE":
                raise UsageError(
                    f"{self.folder} holds a run with {key} {theirs}, not {ours}: delete or rename it"
                )
        return str(cfg.MODEL.DEVICE)

    def command(self, *, launcher: str = "", num_gpus: int = 1, eval_only: bool = False) -> list[str]:
        """The command that starts the run, or continues it from its last checkpoint.

        Args:
            launcher: replaces this Python, for instance "torchrun --nproc_per_node 8".
            num_gpus: processes on this machine.
            eval_only: evaluates MODEL.WEIGHTS instead of training.

        Raises:
            UsageError: the launcher is no command line.
        """
        options = ["--eval-only" if eval_only else "--resume"]
        if num_gpus != 1:
            options += ["--num-gpus", str(num_gpus)]
        try:
            start = shlex.split(launcher) or [sys.executable]
        except ValueError as error:
            raise UsageError(f"--launcher {launcher!r}: {error}") from error
        config = ["--config-file", os.path.relpath(self.config_file)]
        overrides = [*self.overrides, "OUTPUT_DIR", str(self.folder)]
        return [*start, os.path.relpath(TRAIN_NET), *config, *options, *overrides]

    def metrics(self) -> dict[str, float] | None:
        """The final metrics by the last part of their names; None if the run is not done.

        Where several tasks share a name, the metric is the first task's.
        """
        results = read_results(self.folder)
        if results is None:
            return None
        metrics: dict[str, float] = {}
        for name, value in results.items():
            metrics.setdefault(name.rpartition("/")[2], value)
        return metrics


def run_command(command: Sequence[str]) -> int:
    """Runs a command to its end, and returns its exit status.

    Raises:
        UsageError: there is no such program.
        Stopped: this process got SIGTERM or SIGINT; the command got it too, and has ended.
    """
    with forwarding([]) as forwarded:
        try:
            process = subprocess.Popen(command)
        except OSError as error:
            raise UsageError(f"{command[0]} cannot be started: {error.strerror}") from error
        forwarded.add([process.pid])
        status = process.wait()
    if forwarded.received:
        raise Stopped(forwarded.received)
    return status
