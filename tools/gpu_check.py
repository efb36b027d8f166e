"""Checks a GPU in one command, under nine minutes: all that a machine without one cannot show.

    python tools/gpu_check.py --output output/gpu_check
    python tools/gpu_check.py --output output/gpu_check --parts operators models

The parts are build (compiles csrc/ for the GPU), tests (those that need one), operators (beside grid_sample,
with the bandwidth), models (beside Keypoint R-CNN), training (a step) and memory. OUTPUT/gpu_check.json and
gpu_check.md are written after every figure, so a run that is cut keeps what it has. The exit status is 1 if a
part fails or takes longer than its limit.
"""

import argparse
from pathlib import Path

import posecore  # noqa: F401  (before Detectron2, whose gaps it closes)

# isort: split
from posecore.benchmarks.gpu_check import CONFIGS, PARTS, CheckSettings, part_command, run_parts
from posecore.config.device import check_device
from posecore.engine.command_line import check_output_folder, positive, run_tool


def main() -> int:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--output", type=Path, required=True, help="folder of the figures")
    parser.add_argument("--parts", nargs="+", choices=PARTS, default=list(PARTS), help="default: all")
    parser.add_argument(
        "--limit",
        type=positive,
        metavar="SECONDS",
        help="after which a part is cut (default: one of its own)",
    )
    parser.add_argument("--device", choices=("cuda", "cpu"), default="cuda")
    parser.add_argument(
        "--size", type=positive, nargs=2, default=(800, 1216), metavar=("HEIGHT", "WIDTH"), help="of an image"
    )
    parser.add_argument("--persons", type=positive, default=20, help="in an image (default: %(default)s)")
    parser.add_argument(
        "--rounds", type=positive, default=5, help="runs of each candidate (default: %(default)s)"
    )
    parser.add_argument(
        "--configs",
        nargs="+",
        default=CONFIGS,
        metavar="CONFIG",
        help="below configs/ (default: %(default)s)",
    )
    options = parser.parse_args()
    check_output_folder(options.output)
    check_device(options.device, "--device")
    settings = CheckSettings(
        device=options.device,
        size=tuple(options.size),
        persons=options.persons,
        rounds=options.rounds,
        configs=tuple(options.configs),
    )
    results = run_parts(
        {name: part_command(name, settings) for name in options.parts},
        options.output,
        device=options.device,
        limits={name: options.limit or PARTS[name].limit for name in options.parts},
    )
    print((options.output / "gpu_check.md").read_text())
    return int(any(result.status != "done" for result in results.values()))


if __name__ == "__main__":
    run_tool(main, "gpu_check.py")
