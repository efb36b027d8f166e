"""Runs in Slurm's queue, by the optional package submitit: :class:`SlurmStarter`."""

import json
import os
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Mapping, Sequence
from contextlib import suppress
from pathlib import Path
from typing import Any

import cloudpickle

from posecore.config.errors import UsageError
from posecore.config.extras import require_package
from posecore.engine.run_lock import lock_folder
from posecore.engine.starters import SCREEN, StartedRun, Starter

# In the folder of a run: its job, and the folder of submitit's files of its jobs.
JOB = "slurm_job.json"
FILES = "slurm"
# Times that a job may be requeued after it has used up its time. A training may take many times its limit.
TIMEOUTS = 1000
LOCK_SECONDS = 1.0


class RunCommand:
    """The work of a job: a command in a process of its own, with its screen in the run's folder.

    Jobs get this class with its code, because an import of this project would load torch a second time.

    Args:
        command: the program and its arguments.
        folder: of the run, absolute.
        working_folder: in which the command is started.
    """

    def __init__(self, command: Sequence[str], folder: Path, working_folder: Path) -> None:
        self._command = list(command)
        self._folder = folder
        self._working_folder = working_folder
        self._process: subprocess.Popen | None = None

    def __call__(self) -> int:
        """Runs the command to its end, and returns its exit status."""
        while (lock := lock_folder(self._folder)) is None:  # an interrupted job may still save its checkpoint
            time.sleep(LOCK_SECONDS)
        with (self._folder / SCREEN).open("ab") as screen:
            self._process = subprocess.Popen(
                self._command,
                cwd=self._working_folder,
                stdout=screen,
                stderr=subprocess.STDOUT,
                pass_fds=[lock],
            )
        os.close(lock)
        return self._process.wait()

    def checkpoint(self) -> Any:
        """Called by submitit when Slurm preempts the job or its time runs out: it is queued again."""
        import submitit

        # submitit calls this from a signal handler, which has interrupted Popen.wait with its lock held.
        if self._process is not None and self._process.returncode is None:
            with suppress(ProcessLookupError, ChildProcessError):
                os.kill(self._process.pid, signal.SIGTERM)
                os.waitpid(self._process.pid, 0)
        again = RunCommand(self._command, self._folder, self._working_folder)
        return submitit.helpers.DelayedSubmission(again)


class _SlurmRun(StartedRun):
    """A job; it goes on when this process ends."""

    def __init__(self, job: Any) -> None:
        self._job = job

    def poll(self) -> int | None:
        if not self._job.done():
            return None
        error = self._job.exception()
        return 1 if error is not None else int(self._job.result())

    def stop(self) -> None:
        self._job.cancel(check=False)


class SlurmStarter(Starter):
    """Submits runs as jobs of one task each, which starts the processes of the run itself.

    A job that is preempted, or whose time runs out, saves a checkpoint and is queued again. The number of a
    job is in the run's folder; a run whose job is still in the queue is not submitted again.

    Args:
        parameters: of submitit's AutoExecutor, such as "timeout_min" or "slurm_partition"; "cluster" is
            "slurm" or, for tests, "local".
        gpus: of each job.

    Raises:
        UsageError: submitit is not installed, or refuses a parameter.
    """

    def __init__(self, parameters: Mapping[str, str], *, gpus: int) -> None:
        require_package("submitit", "slurm", "--slurm")
        values = {name: _number(value) for name, value in parameters.items()}
        self._cluster = str(values.pop("cluster", "slurm"))
        self._parameters = {"gpus_per_node": gpus, "tasks_per_node": 1, **values}
        with tempfile.TemporaryDirectory() as folder:  # an error comes before anything is submitted
            self._executor(Path(folder), name="check")

    def start(self, command: Sequence[str], folder: Path, place: int) -> StartedRun | None:
        """Submits a run as a job."""
        known: Any = self._known_job(folder)
        if known is not None:
            return _SlurmRun(known)
        lock = lock_folder(folder)
        if lock is None:
            return None
        os.close(lock)
        for module in (RunCommand.__module__, lock_folder.__module__):
            cloudpickle.register_pickle_by_value(sys.modules[module])
        work = RunCommand(command, folder.resolve(), Path.cwd())
        try:
            job: Any = self._executor(folder / FILES, name=folder.name).submit(work)
        except (OSError, subprocess.SubprocessError, RuntimeError) as error:
            raise UsageError(f"--slurm: {folder.name} cannot be submitted: {error}") from error
        (folder / JOB).write_text(json.dumps({"cluster": self._cluster, "id": job.job_id}))
        return _SlurmRun(job)

    def _known_job(self, folder: Path) -> Any:
        """The job of a run that is still in the queue; None if there is none."""
        import submitit

        try:
            content = json.loads((folder / JOB).read_text())
        except (OSError, ValueError):
            return None
        if not isinstance(content, dict) or self._cluster != "slurm" or content.get("cluster") != "slurm":
            return None  # a local job is known by the lock that it holds
        job: Any = submitit.SlurmJob(folder=folder / FILES, job_id=str(content.get("id")))
        return None if job.done(force_check=True) else job

    def _executor(self, files: Path, name: str) -> Any:
        import submitit

        try:
            executor = submitit.AutoExecutor(
                folder=files, cluster=self._cluster, slurm_max_num_timeout=TIMEOUTS
            )
            executor.update_parameters(name=name, **self._parameters)
        except (ValueError, NameError, AssertionError, RuntimeError) as error:
            raise UsageError(f"--slurm: {' '.join(str(error).split())}") from error
        return executor


def _number(text: str) -> str | int:
    return int(text) if text.isdecimal() else text
