"""What the tools share: options of how runs are started, and :func:`run_tool`, which ends every tool."""

import argparse
import sys
from collections.abc import Callable
from typing import NoReturn

from posecore.checkpoint.weights import CheckpointError
from posecore.config.merge import UsageError

# What the user can mend; the messages say how.
USER_ERRORS: tuple[type[Exception], ...] = (UsageError, CheckpointError, FileNotFoundError, ValueError)


def run_tool(
    main: Callable[[], int | None], name: str, errors: tuple[type[Exception], ...] = USER_ERRORS
) -> NoReturn:
    """Calls ``main`` and ends the process.

    The exit status is what ``main`` returns, 0 for None. After one of ``errors`` it is 1, and stderr has
    ``name: message``; any other exception keeps its traceback.

    Args:
        main: parses the command line and does the work.
        name: the tool's file name, with which the message begins.
        errors: exceptions that the user can mend.
    """
    try:
        status = main()
    except errors as error:
        sys.exit(f"{name}: {error}")
    sys.exit(status)


def add_launcher_options(parser: argparse.ArgumentParser) -> None:
    """Adds the options of how a run is started: --num-gpus and --launcher."""
    parser.add_argument("--num-gpus", type=int, default=1, help="processes per run, on this machine (1)")
    parser.add_argument(
        "--launcher",
        default="",
        help="replaces this Python, such as 'torchrun --nproc_per_node 8' or 'srun -n 8 python'",
    )


def add_run_options(parser: argparse.ArgumentParser) -> None:
    """Adds the options of how several runs are started, those of :func:`add_launcher_options` among them."""
    add_launcher_options(parser)
    parser.add_argument("--eval-only", action="store_true", help="evaluate MODEL.WEIGHTS, train nothing")
    parser.add_argument(
        "--print", action="store_true", help="print the commands, one per line, instead of running them"
    )
