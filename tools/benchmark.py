"""Measures parts of the project beside what they replace.

    python tools/benchmark.py ops       our operators beside torch's grid_sample
    python tools/benchmark.py kpalign   KPAlign's cheap forms beside the plain one
    python tools/benchmark.py model     inference beside Detectron2's Keypoint R-CNN
    python tools/benchmark.py crops     Poseur beside RLE
    python tools/benchmark.py memory    what a prediction needs at its peak, beside the same
    python tools/benchmark.py cost      parameters and multiply-adds, beside what the papers say

Candidates run in one process and take turns, so that whatever else the machine does meets all of them;
figures are medians.
"""

import argparse
import sys
from collections.abc import Callable
from pathlib import Path

import posecore  # noqa: F401  (before Detectron2, whose gaps it closes)

# isort: split
import torch

from benchmarks import cost, crops, kpalign, memory, model, ops
from posecore.config.merge import UsageError


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    commands = parser.add_subparsers(required=True, metavar="COMMAND")

    command = _add(commands, "ops", ops.run, rounds=15)
    _add_size(command)
    command.add_argument(
        "--images", dest="num_images", type=int, default=1, help="images in a batch (default: %(default)s)"
    )

    command = _add(commands, "kpalign", kpalign.run, rounds=5)
    _add_size(command)
    command.add_argument("--candidates", type=int, default=1000, help="locations (default: %(default)s)")

    command = _add(commands, "model", model.run, rounds=7)
    _add_size(command)
    _add_models(command, persons=[20])
    command.add_argument("--plot", type=Path, help="image of milliseconds over persons, to be written")

    command = _add(commands, "crops", crops.run, rounds=7)
    command.add_argument("--crops", type=int, default=4, help="persons at once (default: %(default)s)")

    command = _add(commands, "memory", memory.run, rounds=1)
    _add_size(command)
    _add_models(command, persons=[1, 50])

    command = commands.add_parser("cost")
    command.set_defaults(run=cost.run)
    command.add_argument(
        "--configs", nargs="+", metavar="CONFIG", help="files (default: the rows of configs/paper/costs.yaml)"
    )
    _add_size(command)
    command.add_argument(
        "--opts", nargs="+", default=[], metavar="KEY VALUE", help="pairs for all of --configs"
    )

    args = parser.parse_args()
    try:
        args.run(args)
    except UsageError as error:
        sys.exit(f"benchmark.py: {error}")


def _add(
    commands: argparse._SubParsersAction, name: str, run: Callable[[argparse.Namespace], None], rounds: int
) -> argparse.ArgumentParser:
    """A subcommand with the options that measurements have."""
    command = commands.add_parser(name)
    command.set_defaults(run=run)
    command.add_argument(
        "--device", choices=("cpu", "cuda"), default="cuda" if torch.cuda.is_available() else "cpu"
    )
    command.add_argument("--threads", type=int, default=2, help="threads on the CPU (default: %(default)s)")
    command.add_argument(
        "--rounds", type=int, default=rounds, help="runs of each candidate (default: %(default)s)"
    )
    return command


def _add_size(command: argparse.ArgumentParser) -> None:
    command.add_argument(
        "--size", type=int, nargs=2, default=(800, 1216), metavar=("HEIGHT", "WIDTH"), help="of an image"
    )


def _add_models(command: argparse.ArgumentParser, persons: list[int]) -> None:
    """What the comparisons with Keypoint R-CNN have."""
    command.add_argument(
        "--persons", type=int, nargs="+", default=persons, help="found in the image (default: %(default)s)"
    )
    command.add_argument(
        "--configs",
        nargs="+",
        default=[
            "directpose/R_50_25ep.yaml",
            "fcpose/R_50_1x.yaml",
            "inspose/R_50_36ep.yaml",
            "poet/R_50.yaml",
        ],
        metavar="CONFIG",
        help="ours, below configs/ (default: %(default)s)",
    )


if __name__ == "__main__":
    main()
