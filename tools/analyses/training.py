"""The parts of the loss and the AP over a training (POET, Figures 4 and 6)."""

import argparse
from pathlib import Path

from posecore.visualization.curves import plot_training


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("metrics", type=Path, help="metrics.json of the training's OUTPUT_DIR")
    parser.add_argument("--output", type=Path, required=True, help="the image to write")


def run(options: argparse.Namespace) -> None:
    plot_training(options.metrics, options.output)
    print(options.output)
