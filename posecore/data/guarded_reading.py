"""Reads files whose library crashes at broken ones: :func:`read_guarded`.

scipy and h5py end the whole process at some files (a bus error, an abort), or go on for hours. A process of
its own reads such a file, so that its end is an error like any other.
"""

import ctypes
import faulthandler
import os
import pickle
import resource
import select
import signal
import sys
import time
import warnings
from collections.abc import Callable
from pathlib import Path
from typing import Any, NoReturn, TypeVar

import cv2

from posecore.data.job_signals import held_signals

Content = TypeVar("Content")

# Seconds that reading takes at most: some, and more for each million bytes of a file.
LEAST_SECONDS = 60.0
SECONDS_PER_MEGABYTE = 2.0
_PR_SET_PDEATHSIG = 1


class CrashError(ValueError):
    """Reading a file has ended or outlasted a process; the message names the file."""


def read_guarded(read: Callable[[Path], Content], file: Path, *, seconds: float | None = None) -> Content:
    """``read(file)``, called in a process of its own, which is forked from this one.

    Args:
        read: its result is picklable; what it changes besides is lost.
        file: for ``read`` and for messages.
        seconds: the longest time; None for one by the size of the file.

    Raises:
        CrashError: the process crashed, took too long or needed more memory than there is.
        FileNotFoundError: there is no such file.
        Exception: what ``read`` raised.
    """
    if not file.is_file():  # a pipe would be waited for
        raise FileNotFoundError(f"{file} {'is no file' if file.exists() else 'does not exist'}")
    if seconds is None:
        seconds = LEAST_SECONDS + SECONDS_PER_MEGABYTE * os.path.getsize(file) / 1e6
    receiver, sender = os.pipe()
    with held_signals(), warnings.catch_warnings():
        # Of threads at work, whose locks the new process does not need.
        warnings.simplefilter("ignore", DeprecationWarning)
        child = os.fork()
        if child == 0:
            os.close(receiver)
            _read_and_leave(read, file, sender)
    os.close(sender)
    status: int | None = None
    try:
        answer = _receive(receiver, time.monotonic() + seconds)
        status = os.waitpid(child, 0)[1] if answer is not None else None
    finally:
        os.close(receiver)
        if status is None:
            os.kill(child, signal.SIGKILL)
            os.waitpid(child, 0)
    if answer is None:
        raise CrashError(
            f"{file} cannot be read: after {seconds:.0f} seconds it is given up (is it damaged?)"
        )
    if status:
        why = f" ({signal.Signals(status).name})" if os.WIFSIGNALED(status) else ""
        raise CrashError(f"{file} is damaged: the library that reads it has crashed{why}")
    # The process was ours, and ran to its end: this is what our own code has pickled.
    succeeded, content = pickle.loads(answer)
    if not succeeded:
        raise content
    return content


def _receive(receiver: int, deadline: float) -> bytes | None:
    """What a pipe gives until it is closed; None if that lasts too long."""
    parts: list[bytes] = []
    while True:
        if not select.select([receiver], [], [], max(0.0, deadline - time.monotonic()))[0]:
            return None
        part = os.read(receiver, 1 << 20)
        if not part:
            return b"".join(parts)
        parts.append(part)


def _read_and_leave(read: Callable[[Path], Any], file: Path, sender: int) -> NoReturn:
    """The work of the new process, which ends without the clean-up that belongs to the other one."""
    status = 1
    try:
        _prepare()
        try:
            answer = pickle.dumps((True, read(file)))
        except MemoryError:
            answer = pickle.dumps((False, CrashError(f"{file} needs more memory than there is")))
        except Exception as error:
            answer = _pickled_error(error)
        with os.fdopen(sender, "wb") as pipe:
            pipe.write(answer)
        status = 0
    finally:
        os._exit(status)


def _prepare() -> None:
    """Lets a crash be silent, leaves no core dump, and ends with the parent."""
    cv2.setNumThreads(0)  # its threads are not forked, and would be waited for
    faulthandler.disable()
    silent = os.open(os.devnull, os.O_WRONLY)
    for number in (1, 2):
        os.dup2(silent, number)
    resource.setrlimit(resource.RLIMIT_CORE, (0, resource.getrlimit(resource.RLIMIT_CORE)[1]))
    if sys.platform == "linux":
        ctypes.CDLL(None).prctl(_PR_SET_PDEATHSIG, signal.SIGKILL)
        # A forged size would otherwise take the memory of the machine.
        pages = int(Path("/proc/self/statm").read_text().split()[0])
        most = (pages + os.sysconf("SC_PHYS_PAGES")) * os.sysconf("SC_PAGE_SIZE")
        limit = resource.getrlimit(resource.RLIMIT_AS)[1]
        if limit == resource.RLIM_INFINITY or most < limit:
            resource.setrlimit(resource.RLIMIT_AS, (most, limit))


def _pickled_error(error: Exception) -> bytes:
    """The error as an answer; one that cannot be pickled and read again becomes a ValueError."""
    try:
        answer = pickle.dumps((False, error))
        pickle.loads(answer)
    except Exception:
        answer = pickle.dumps((False, ValueError(str(error) or type(error).__name__)))
    return answer
