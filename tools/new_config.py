"""Writes a configuration that trains a method on a dataset of your own, and says why each value is so.

    python tools/new_config.py --dataset datasets/dogs --method fcpose --output dogs_fcpose.yaml
    python tools/train_net.py --config-file dogs_fcpose.yaml

The values follow from the data (sizes of images and persons, their number), from the machine (memory,
processors) and from the method; docs/own_data.md shows the whole way.
"""

import argparse
import shlex
from pathlib import Path

from posecore.checkpoint.files import write_whole
from posecore.config.errors import UsageError
from posecore.engine.command_line import check_not_read, check_output_file, run_tool
from posecore.engine.new_config import METHODS, propose_config


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument(
        "--dataset", type=Path, required=True, help="folder with train.yaml and, best, val.yaml"
    )
    parser.add_argument("--method", required=True, choices=[*METHODS])
    parser.add_argument("--output", type=Path, help="file of the configuration (DATASET_METHOD.yaml)")
    parser.add_argument(
        "--size",
        choices=["small", "full"],
        help="of the model: small for a CPU, full as in the papers (full on a GPU of 8 GB, else small)",
    )
    parser.add_argument("--device", default="auto", help="MODEL.DEVICE: auto, cpu, cuda or cuda:N (auto)")
    parser.add_argument("--overwrite", action="store_true", help="replace the file of --output")
    options = parser.parse_args()
    output = options.output or Path(f"{options.dataset.absolute().name}_{options.method}.yaml")
    check_output_file(output, endings=(".yaml", ".yml"))
    if output.exists() and not options.overwrite:
        raise UsageError(f"--output {output} exists: --overwrite replaces it")
    check_not_read(output, options.dataset.glob("*.y*ml"))
    config = propose_config(options.dataset, options.method, size=options.size, device=options.device)
    write_whole(output, lambda file: file.write_text(config.text(), encoding="utf-8"))
    print(config.text(), end="")
    print(f"written: {output}")
    print(f"next: python tools/train_net.py --config-file {shlex.quote(str(output))} --dry-run")


if __name__ == "__main__":
    run_tool(main, "new_config.py")
