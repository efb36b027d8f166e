"""Functions and programs that run in processes of their own: :func:`in_processes`, :func:`run_python`.

The processes are forked from a server that has imported torch, Detectron2 and the project once, so that a
test does not wait for these imports. The server itself runs no code of a test, and a process ends with its
call.
"""

import importlib.util
import inspect
import multiprocessing
import os
import runpy
import socket
import subprocess
import sys
import tempfile
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import torch
from detectron2.utils import comm

from posecore.engine.launch import launch

_SERVER = multiprocessing.get_context("forkserver")
_SERVER.set_forkserver_preload(
    [
        *("torch.multiprocessing", "posecore.engine.trainer", "posecore.inference.predict"),
        *("directpose", "fcpose", "grouppose", "inspose", "poet", "poseur"),
    ]
)


def in_processes(function: Callable[..., Any], size: int, *args: Any) -> list[Any]:
    """Calls ``function(*args)`` in ``size`` processes that form one gloo world.

    Args:
        function: a function at the top level of a test module. The processes load that module from its file,
            so everything that it registers on import exists in them too.
        size: number of processes.
        args: picklable arguments.

    Returns:
        The results of the function by rank: tensors, numbers, text or containers of these.
    """
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    with tempfile.TemporaryDirectory() as folder:
        call = (inspect.getfile(function), function.__name__, args, folder)
        torch.multiprocessing.start_processes(
            _join, (size, port, call), nprocs=size, start_method="forkserver"
        )
        return [torch.load(Path(folder) / f"{rank}.pt") for rank in range(size)]


def _join(rank: int, size: int, port: int, call: tuple) -> None:
    """One process of :func:`in_processes`, which joins the others as those that torchrun starts."""
    os.environ.update(
        RANK=str(rank),
        LOCAL_RANK=str(rank),
        WORLD_SIZE=str(size),
        MASTER_ADDR="127.0.0.1",
        MASTER_PORT=str(port),
    )
    launch(_call, call, device="cpu")


def _call(file: str, name: str, args: tuple, folder: str) -> None:
    torch.set_num_threads(1)
    spec = importlib.util.spec_from_file_location(Path(file).stem, file)
    assert spec is not None
    module = importlib.util.module_from_spec(spec)
    assert spec.loader is not None
    spec.loader.exec_module(module)
    torch.save(getattr(module, name)(*args), Path(folder) / f"{comm.get_rank()}.pt")


def run_python(
    arguments: Sequence[str | Path],
    *,
    cwd: Path | None = None,
    env: Mapping[str, str] | None = None,
    timeout: float = 300,
) -> subprocess.CompletedProcess[str]:
    """Runs ``python ARGUMENTS`` and waits for its end, like ``subprocess.run`` with captured text.

    Args:
        arguments: a script, ``-m MODULE`` or ``-c PROGRAM``, and what follows it.
        cwd: the folder to run in; None for that of the test.
        env: all environment variables; None for those of the test. Variables that are read when Python starts
            or a module is imported, such as DETECTRON2_DATASETS, have no effect.
        timeout: seconds until the process is killed.

    Raises:
        subprocess.TimeoutExpired: it took longer.
    """
    command = [str(argument) for argument in arguments]
    with tempfile.TemporaryDirectory() as folder:
        screens = [Path(folder) / name for name in ("stdout", "stderr")]
        where = str(cwd or Path.cwd())
        process = _SERVER.Process(target=_run, args=(command, where, dict(env or os.environ), *screens))
        process.start()
        process.join(timeout)
        if process.is_alive():
            process.kill()
            process.join()
            raise subprocess.TimeoutExpired(command, timeout)
        stdout, stderr = (screen.read_text() for screen in screens)
    assert process.exitcode is not None
    return subprocess.CompletedProcess(command, process.exitcode, stdout, stderr)


def _run(command: list[str], cwd: str, env: dict[str, str], stdout: Path, stderr: Path) -> None:
    for stream, file in ((sys.stdout, stdout), (sys.stderr, stderr)):
        stream.flush()
        descriptor = os.open(file, os.O_WRONLY | os.O_CREAT)
        os.dup2(descriptor, stream.fileno())
        os.close(descriptor)
    os.environ.clear()
    os.environ.update(env)
    os.chdir(cwd)
    if command[0] == "-m":
        sys.path[0] = cwd
        sys.argv = command[1:]
        sys.modules.pop(command[1], None)  # which the server has imported
        runpy.run_module(command[1], run_name="__main__", alter_sys=True)
    elif command[0] == "-c":
        sys.path[0] = cwd
        sys.argv = ["-c", *command[2:]]
        exec(command[1], {"__name__": "__main__"})
    else:
        sys.path[0] = str(Path(command[0]).resolve().parent)
        sys.argv = command
        runpy.run_path(command[0], run_name="__main__")
