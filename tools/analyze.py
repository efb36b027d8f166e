"""Looks into a trained model: images of what it attends to, predicts and learns.

    python tools/analyze.py training output/metrics.json --output curves.png
    python tools/analyze.py errors keypoints_coco_2017_val coco_instances_results.json
    python tools/analyze.py attention --config-file CONFIG --input photo.jpg --cells 250 720 \\
        --output attention.png MODEL.WEIGHTS model_final.pth
    python tools/analyze.py centers --config-file CONFIG --output centers.png MODEL.WEIGHTS model_final.pth

and in the same way visibility, layers and keypoints. Each command is a module of tools/analyses with a
docstring, add_arguments(parser) and run(options).
"""

import argparse
import sys

import posecore  # noqa: F401  (before Detectron2, whose gaps it closes)

# isort: split
from analyses import attention, centers, errors, keypoints, layers, training, visibility
from posecore.checkpoint.weights import CheckpointError
from posecore.config.merge import UsageError

COMMANDS = {
    "training": training,
    "attention": attention,
    "centers": centers,
    "visibility": visibility,
    "layers": layers,
    "keypoints": keypoints,
    "errors": errors,
}


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    commands = parser.add_subparsers(required=True, metavar="COMMAND")
    for name, module in COMMANDS.items():
        summary = (module.__doc__ or "").partition("\n")[0]
        command = commands.add_parser(name, help=summary, description=module.__doc__)
        module.add_arguments(command)
        command.set_defaults(run=module.run)
    options = parser.parse_args()
    try:
        options.run(options)
    except (UsageError, CheckpointError, FileNotFoundError, ValueError) as error:
        sys.exit(f"analyze.py: {error}")


if __name__ == "__main__":
    main()
