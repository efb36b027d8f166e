"""Takes over a published checkpoint: the same weights under this project's names.

    python tools/convert_checkpoint.py fcpose OFFICIAL.pth OUT.pth \\
        --config-file configs/fcpose/official/R_50_3x.yaml

Nothing that the file may hold is run. OUT.pth holds {"model": weights}; it is written only if they are
exactly those of the model that the configuration describes.
"""

import argparse
import importlib
import sys
from pathlib import Path

import posecore  # noqa: F401  (before Detectron2, whose gaps it closes)

# isort: split
import torch
from detectron2.modeling import build_model
from torch import Tensor

from posecore.checkpoint.weights import CheckpointError, read_checkpoint
from posecore.config import get_cfg
from posecore.config.merge import UsageError, merge_config


def parse() -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("method", metavar="METHOD", help="its package, such as fcpose")
    parser.add_argument("source", metavar="IN", type=Path, help="the published checkpoint")
    parser.add_argument("target", metavar="OUT", type=Path, help="where the converted one goes")
    parser.add_argument("--config-file", required=True, metavar="CONFIG", help="the model that it is for")
    return parser.parse_args()


def convert(method: str, source: Path, config_file: str) -> dict[str, Tensor]:
    """The weights of a published checkpoint as the model of the configuration needs them.

    Raises:
        UsageError: the method has no published names, or the weights are not those of the model.
        CheckpointError, ValueError: the file is not readable, or not of this method.
    """
    try:
        official = importlib.import_module(f"{method}.convert_weights")
    except ModuleNotFoundError as error:
        raise UsageError(f"METHOD {method}: no published names are known here ({error})") from error
    cfg = merge_config(get_cfg(), config_file, ["MODEL.DEVICE", "cpu", "MODEL.WEIGHTS", ""])
    model = build_model(cfg)
    # Each a tensor of its own: a part of a larger one would be saved with all of it.
    weights = {
        name: tensor.clone()
        for name, tensor in official.convert(read_checkpoint(str(source))["model"]).items()
    }
    try:
        model.load_state_dict(weights)
    except RuntimeError as error:
        raise UsageError(f"{source} does not fit the model of {config_file}: {error}") from error
    return weights


if __name__ == "__main__":
    arguments = parse()
    try:
        converted = convert(arguments.method, arguments.source, arguments.config_file)
    except (UsageError, CheckpointError, ValueError) as error:
        sys.exit(f"convert_checkpoint.py: {error}")
    arguments.target.parent.mkdir(parents=True, exist_ok=True)
    torch.save({"model": converted}, arguments.target)
    print(f"{arguments.target}: {len(converted)} tensors")
