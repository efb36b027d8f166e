"""A lock on the folder of a run, so that no two processes train in it at once: :func:`lock_folder`."""

import fcntl
import os
from pathlib import Path

LOCK = ".lock"


def lock_folder(folder: Path) -> int | None:
    """Locks a folder until all processes that inherit the descriptor have ended or closed it.

    The system gives the lock up with the last of them, however it ends, so no lock stays behind. On a file
    system without locks the folder counts as free.

    Args:
        folder: made if it is not there.

    Returns:
        The descriptor of the lock; None if another process holds it.
    """
    folder.mkdir(parents=True, exist_ok=True)
    descriptor = os.open(folder / LOCK, os.O_RDWR | os.O_CREAT, 0o666)
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        os.close(descriptor)
        return None
    except OSError:
        pass
    return descriptor
