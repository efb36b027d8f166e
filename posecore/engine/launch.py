"""Starts the processes of a job and connects them: :func:`launch`.

Under ``torchrun`` and Slurm's ``srun`` the processes exist already, and environment variables give their
ranks. Otherwise :func:`launch` spawns ``num_gpus`` processes, or runs in its own if that is one. NCCL
connects processes on GPUs, gloo those on the CPU.
"""

import logging
import os
import re
import socket
import sys
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import timedelta
from typing import Any

import torch
import torch.distributed as dist
import torch.multiprocessing as mp
from detectron2.utils import comm
from torch.distributed.rendezvous import rendezvous

from posecore.config.device import check_device
from posecore.config.errors import UsageError
from posecore.data.job_signals import held_signals, release_signals
from posecore.engine.command_line import TRAINING_ERRORS, can_be_mended, error_message
from posecore.engine.signals import Stopped, forwarding

DEFAULT_TIMEOUT = timedelta(minutes=30)
# What gloo and the store say in errors without a type of their own where another process is gone or silent.
_LOST = re.compile(
    r"connection (closed|reset)|broken pipe|timed out|timeout|remote process exited", re.IGNORECASE
)
# How often the parent of spawned processes looks for errors, and how long a process waits for it to do so.
POLL_SECONDS = 0.5
KILL_SECONDS = 30


class LostProcessError(UsageError):
    """Another process of the job has ended, or has not answered for the time that exchanges may take."""


@dataclass(frozen=True)
class World:
    """The place of one process in a job.

    Attributes:
        rank: of this process, in [0, size).
        size: number of processes on all machines.
        local_rank: of this process among those of its machine; its GPU.
        machine: a text that identifies the machine of the process.
        url: torch's ``init_method``, the same for all processes.
        starter: the program or option that started the processes, for messages.
    """

    rank: int
    size: int
    local_rank: int
    machine: str
    url: str
    starter: str


def launch(
    main: Callable[..., Any],
    args: tuple = (),
    *,
    device: str,
    num_gpus: int = 1,
    num_machines: int = 1,
    machine_rank: int = 0,
    dist_url: str = "auto",
    timeout: timedelta = DEFAULT_TIMEOUT,
) -> Any:
    """Calls ``main(*args)`` in every process of the job.

    Args:
        main: importable by its name, since spawned processes import it.
        args: picklable.
        device: "cpu" or "cuda", the value of MODEL.DEVICE.
        num_gpus: number of processes to spawn on this machine, also on the CPU; at least 1.
        num_machines: number of machines on which this function is called, each with its ``machine_rank``.
        machine_rank: of this machine, from 0.
        dist_url: ``tcp://HOST:PORT`` of the first machine; "auto" for a free port of this one.
        timeout: of exchanges between processes.

    Returns:
        The result of ``main``; None where processes are spawned.

    Raises:
        UsageError: the machine lacks GPUs, a number makes no sense, or ``num_gpus`` contradicts torchrun or
            Slurm.
        LostProcessError: another process has ended, or has not answered within ``timeout``.
    """
    _check_numbers(num_gpus, num_machines, machine_rank)
    world = find_world(os.environ)
    wanted = num_gpus * num_machines
    if world is not None and wanted not in (1, world.size):
        raise UsageError(
            f"{world.starter} has started {world.size} processes, but --num-gpus and --num-machines ask for "
            f"{wanted}: omit these two options"
        )
    _check_device(device, num_gpus)
    if world is not None:
        return _join(world, main, args, device, timeout) if world.size > 1 else main(*args)
    if wanted == 1:
        return main(*args)
    if dist_url == "auto":
        if num_machines > 1:
            raise UsageError("--num-machines above 1 needs --dist-url tcp://HOST:PORT of the first machine")
        dist_url = f"tcp://127.0.0.1:{_free_port()}"
    errors = mp.get_context("spawn").SimpleQueue()
    spawned = (main, args, device, num_gpus, num_machines, machine_rank, dist_url, timeout, errors)
    _spawn_and_wait(spawned, num_gpus, errors)


def _spawn_and_wait(spawned: tuple, num_gpus: int, errors: Any) -> None:
    """Spawns processes, waits for them, and ends as they do.

    A signal that comes while they start reaches them when they can handle it.
    """
    with forwarding([]) as forwarded:
        with held_signals():
            processes = mp.spawn(_spawned, args=spawned, nprocs=num_gpus, join=False)
        forwarded.add(processes.pids())
        try:
            while not processes.join(timeout=POLL_SECONDS):
                if not errors.empty():
                    # The others may wait in an exchange, where they would not see a gentler signal.
                    for process in processes.processes:
                        process.kill()
                    raise UsageError(errors.get())
        except mp.ProcessExitedException as error:
            if forwarded.received:
                raise Stopped(forwarded.received) from None
            if error.exit_code > 0:
                sys.exit(error.exit_code)
            raise
    if forwarded.received:
        raise Stopped(forwarded.received)


def find_world(environment: Mapping[str, str]) -> World | None:
    """The place of this process in a job of torchrun or Slurm; None if neither started it."""
    if {"RANK", "WORLD_SIZE", "LOCAL_RANK"} <= environment.keys():
        return World(
            rank=int(environment["RANK"]),
            size=int(environment["WORLD_SIZE"]),
            local_rank=int(environment["LOCAL_RANK"]),
            machine=environment.get("GROUP_RANK", socket.gethostname()),
            url="env://",
            starter="torchrun",
        )
    # A step (srun) may have another number of tasks than its job.
    size = int(environment.get("SLURM_STEP_NUM_TASKS", environment.get("SLURM_NTASKS", 1)))
    if "SLURM_PROCID" in environment and size > 1:
        return World(
            rank=int(environment["SLURM_PROCID"]),
            size=size,
            local_rank=int(environment["SLURM_LOCALID"]),
            machine=environment.get("SLURM_NODEID", socket.gethostname()),
            url=_slurm_url(environment),
            starter="Slurm",
        )
    return None


def _slurm_url(environment: Mapping[str, str]) -> str:
    """The address of rank 0: the first node, and a port computed from the numbers of job and step."""
    for name in ("SLURM_STEP_NODELIST", "SLURM_JOB_NODELIST", "SLURM_NODELIST"):
        if nodes := environment.get(name):
            host = environment.get("MASTER_ADDR", first_node(nodes))
            break
    else:
        raise UsageError("SLURM_PROCID is set, but neither SLURM_STEP_NODELIST nor SLURM_JOB_NODELIST is")
    job, step = int(environment.get("SLURM_JOB_ID", 0)), int(environment.get("SLURM_STEP_ID", 0))
    port = environment.get("MASTER_PORT", 12000 + (job * 16 + step) % 20000)
    return f"tcp://{host}:{port}"


def first_node(nodes: str) -> str:
    """The first node of a compressed list of Slurm: ``rack2n[007-011,20]-ib,gpu1`` -> ``rack2n007-ib``."""
    first = re.match(r"(?:[^,\[]|\[[^\]]*\])+", nodes)
    if first is None:
        raise UsageError(f"{nodes!r} is not a list of Slurm nodes")
    return re.sub(r"\[([^],-]*)[^]]*\]", r"\1", first[0])


def _check_numbers(num_gpus: int, num_machines: int, machine_rank: int) -> None:
    if num_gpus < 1:
        raise UsageError(
            f"--num-gpus must be at least 1, not {num_gpus}: it is the number of processes, also on the CPU "
            "(`MODEL.DEVICE cpu`)"
        )
    if num_machines < 1:
        raise UsageError(f"--num-machines must be at least 1, not {num_machines}")
    if not 0 <= machine_rank < num_machines:
        raise UsageError(
            f"--machine-rank must be from 0 to {num_machines - 1}, below --num-machines, not {machine_rank}"
        )


def _check_device(device: str, num_gpus: int) -> None:
    try:
        check_device(device)
    except ValueError as error:
        raise UsageError(str(error)) from error
    if device.startswith("cuda") and num_gpus > torch.cuda.device_count():
        raise UsageError(f"--num-gpus {num_gpus}, but this machine has {torch.cuda.device_count()}")


def _free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return probe.getsockname()[1]


def _spawned(
    local_rank: int,
    main: Callable[..., Any],
    args: tuple,
    device: str,
    num_gpus: int,
    num_machines: int,
    machine_rank: int,
    url: str,
    timeout: timedelta,
    errors: Any,
) -> None:
    """One of the spawned processes; it puts the message of an error that the user can mend in a queue."""
    release_signals()
    if device == "cpu" and "OMP_NUM_THREADS" not in os.environ:
        torch.set_num_threads(max(1, torch.get_num_threads() // num_gpus))
    world = World(
        rank=machine_rank * num_gpus + local_rank,
        size=num_machines * num_gpus,
        local_rank=local_rank,
        machine=str(machine_rank),
        url=url,
        starter="--num-gpus",
    )
    try:
        _join(world, main, args, device, timeout)
    except Exception as error:
        if not can_be_mended(error, TRAINING_ERRORS):
            raise
        errors.put(error_message(error))
        # Until the parent ends all processes: if this one ended first, the others would raise errors of lost
        # connections.
        time.sleep(KILL_SECONDS)
        sys.exit(1)


def _join(world: World, main: Callable[..., Any], args: tuple, device: str, timeout: timedelta) -> Any:
    """Connects this process to the others, calls ``main`` and disconnects."""
    if device.startswith("cuda"):
        # Slurm can make only its own GPU visible to each task, which is then the first.
        torch.cuda.set_device(world.local_rank if torch.cuda.device_count() > 1 else 0)
    logging.getLogger(__name__).info("Process %d of %d joins at %s", world.rank, world.size, world.url)
    store, rank, size = next(rendezvous(world.url, world.rank, world.size, timeout=timeout))
    store.set_timeout(timeout)
    dist.init_process_group(
        "nccl" if device.startswith("cuda") else "gloo",
        store=dist.PrefixStore(_start_name(os.environ), store),
        rank=rank,
        world_size=size,
        timeout=timeout,
    )
    with _lost_processes(world, timeout):
        comm._LOCAL_PROCESS_GROUP = _local_group(world)
        comm.synchronize()
        result = main(*args)
        # Not after a failure, because a failed process must not wait here for the others.
        comm.synchronize()
    dist.destroy_process_group()
    comm._LOCAL_PROCESS_GROUP = None
    return result


@contextmanager
def _lost_processes(world: World, timeout: timedelta) -> Iterator[None]:
    """Turns the errors of exchanges that fail because of another process into one that says so.

    Raises:
        LostProcessError: another process is gone or silent.
    """
    try:
        yield
    except RuntimeError as error:
        is_of_exchange = isinstance(error, dist.DistError) or "gloo" in str(error)
        if not is_of_exchange or not _LOST.search(str(error)):
            raise
        reason = " ".join(str(error).split())
        raise LostProcessError(
            f"process {world.rank} of {world.size} (on {socket.gethostname()}) has lost another one: a "
            "process or its machine has ended, the network between them is down, or one did not answer for "
            f"{timeout} (--timeout). The logs of the others may say why. Start all of them again with "
            f"--resume to go on from the last checkpoint ({reason})"
        ) from error


def _start_name(environment: Mapping[str, str]) -> str:
    """A name that differs between the starts of a job, whose store is the same.

    torchrun restarts processes with the store of those before them, where their addresses still are. Each
    machine counts its own restarts, so that the number is the same everywhere only on one machine.
    """
    on_one_machine = environment.get("LOCAL_WORLD_SIZE", "") == environment.get("WORLD_SIZE")
    return f"start {environment.get('TORCHELASTIC_RESTART_COUNT', 0)}" if on_one_machine else "start"


def is_restart(environment: Mapping[str, str]) -> bool:
    """Whether torchrun starts this process again, after a failure of a process of the same job."""
    return int(environment.get("TORCHELASTIC_RESTART_COUNT", 0)) > 0


def _local_group(world: World) -> Any:
    """The process group of this machine, which Detectron2's ``comm`` needs.

    It is found by the names of the machines and not, as in Detectron2, by counting ranks: Slurm can put
    different numbers of processes on its nodes, in any order.
    """
    machines = comm.all_gather(world.machine)
    groups = {
        machine: dist.new_group([rank for rank, where in enumerate(machines) if where == machine])
        for machine in sorted(set(machines))
    }
    return groups[world.machine]
