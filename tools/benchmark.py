"""Times parts of the project beside what they replace.

    python tools/benchmark.py ops    keypoint_sample beside torch's grid_sample

Candidates run in one process and take turns, so that whatever else the machine does meets all of them;
figures are medians. docs/operators.md says what they mean.
"""

import argparse

import torch

from benchmarks import ops


def main() -> None:
    parser = argparse.ArgumentParser(description="Times parts of the project beside what they replace.")
    commands = parser.add_subparsers(required=True, metavar="COMMAND")

    command = commands.add_parser("ops", help="keypoint_sample beside torch's grid_sample")
    command.set_defaults(run=ops.run)
    command.add_argument(
        "--device", choices=("cpu", "cuda"), default="cuda" if torch.cuda.is_available() else "cpu"
    )
    command.add_argument("--threads", type=int, default=2, help="threads on the CPU (default: %(default)s)")
    command.add_argument(
        "--rounds", type=int, default=15, help="runs of each candidate (default: %(default)s)"
    )
    command.add_argument("--pictures", type=int, default=1, help="pictures in a batch (default: %(default)s)")
    command.add_argument(
        "--size", type=int, nargs=2, default=(800, 1216), metavar=("HEIGHT", "WIDTH"), help="of a picture"
    )

    args = parser.parse_args()
    args.run(args)


if __name__ == "__main__":
    main()
