"""Converts an official checkpoint, exports a trained model, takes its backbone, or averages several.

    python tools/convert_checkpoint.py fcpose OFFICIAL.pth OUT.pth \\
        --config-file configs/fcpose/official/R_50_3x.yaml
    python tools/convert_checkpoint.py export output/model_final.pth OUT.safetensors --half
    python tools/convert_checkpoint.py backbone output/model_final.pth OUT.pth
    python tools/convert_checkpoint.py average output/a/model_final.pth OUT.pth \\
        --with output/b/model_final.pth

The first command gives the weights of an official checkpoint this project's names. OUT.pth holds {"model":
weights}; it is written only if they are exactly those of the model that the configuration describes.

The second one writes a trained model as safetensors, from which alone tools/predict.py can build it: the
weights, the configuration keys that prediction reads, and the skeleton. The configuration is the config.yaml
beside IN, or --config-file. --half writes parameters in 16 bits.

The third one writes the backbone of a trained model alone, without its feature pyramid, from which the
training of another method can start (MODEL.WEIGHTS OUT.pth).

The fourth one writes the mean of the weights of models that were trained from the same one.

Nothing that IN may hold is run.
"""

import argparse
from pathlib import Path

from posecore.checkpoint.convert import convert_checkpoint_file, write_average, write_backbone
from posecore.checkpoint.exported import export_model
from posecore.checkpoint.safetensors_files import ENDING
from posecore.engine.command_line import check_output_file, run_tool

EXPORT, BACKBONE, AVERAGE = "export", "backbone", "average"


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument(
        "method", metavar="METHOD", help='its package, such as fcpose; or "export", "backbone" or "average"'
    )
    parser.add_argument("source", metavar="IN", help="the official checkpoint, or the trained model")
    parser.add_argument("target", metavar="OUT", type=Path, help="the file to be written")
    parser.add_argument("--config-file", type=Path, metavar="CONFIG", help="the model that it is for")
    parser.add_argument("--half", action="store_true", help="export parameters in 16 bits")
    parser.add_argument(
        "--with", nargs="+", default=[], metavar="IN", dest="others", help="models to average with"
    )
    options = parser.parse_args()
    if bool(options.others) != (options.method == AVERAGE):
        parser.error("--with names the other models of average, and is for it alone")
    check_output_file(options.target, "OUT", (ENDING,) if options.method == EXPORT else ())
    if options.method == EXPORT:
        count = export_model(options.source, options.target, options.config_file, half=options.half)
    elif options.half:
        parser.error("--half is for export")
    elif options.method in (BACKBONE, AVERAGE) and options.config_file is not None:
        parser.error(f"--config-file is not for {options.method}")
    elif options.method == AVERAGE:
        count = write_average([options.source, *options.others], options.target)
    elif options.method == BACKBONE:
        count = write_backbone(options.source, options.target)
    elif options.config_file is None:
        parser.error("--config-file is required for an official checkpoint")
    else:
        count = convert_checkpoint_file(
            options.method, Path(options.source), options.target, options.config_file
        )
    print(f"{options.target}: {count} tensors")


if __name__ == "__main__":
    run_tool(main, "convert_checkpoint.py")
