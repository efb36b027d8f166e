"""Converts an official checkpoint: the same weights under this project's names.

    python tools/convert_checkpoint.py fcpose OFFICIAL.pth OUT.pth \\
        --config-file configs/fcpose/official/R_50_3x.yaml

Nothing that the file may hold is run. OUT.pth holds {"model": weights}; it is written only if they are
exactly those of the model that the configuration describes.
"""

import argparse
from pathlib import Path

import torch

from posecore.checkpoint.convert import convert_checkpoint
from posecore.engine.command_line import run_tool


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("method", metavar="METHOD", help="its package, such as fcpose")
    parser.add_argument("source", metavar="IN", type=Path, help="the official checkpoint")
    parser.add_argument("target", metavar="OUT", type=Path, help="the converted checkpoint, to be written")
    parser.add_argument("--config-file", required=True, metavar="CONFIG", help="the model that it is for")
    options = parser.parse_args()
    weights = convert_checkpoint(options.method, options.source, options.config_file)
    options.target.parent.mkdir(parents=True, exist_ok=True)
    torch.save({"model": weights}, options.target)
    print(f"{options.target}: {len(weights)} tensors")


if __name__ == "__main__":
    run_tool(main, "convert_checkpoint.py")
