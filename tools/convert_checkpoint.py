"""Converts an official checkpoint: the same weights under this project's names.

    python tools/convert_checkpoint.py fcpose OFFICIAL.pth OUT.pth \\
        --config-file configs/fcpose/official/R_50_3x.yaml

Nothing that the file may hold is run. OUT.pth holds {"model": weights}; it is written only if they are
exactly those of the model that the configuration describes.
"""

import argparse
from pathlib import Path

from posecore.checkpoint.convert import convert_checkpoint_file
from posecore.engine.command_line import check_output_file, run_tool


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("method", metavar="METHOD", help="its package, such as fcpose")
    parser.add_argument("source", metavar="IN", type=Path, help="the official checkpoint")
    parser.add_argument("target", metavar="OUT", type=Path, help="the converted checkpoint, to be written")
    parser.add_argument("--config-file", required=True, metavar="CONFIG", help="the model that it is for")
    options = parser.parse_args()
    check_output_file(options.target, "OUT")
    count = convert_checkpoint_file(options.method, options.source, options.target, options.config_file)
    print(f"{options.target}: {count} tensors")


if __name__ == "__main__":
    run_tool(main, "convert_checkpoint.py")
