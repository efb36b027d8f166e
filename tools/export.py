"""Exports a trained model to ONNX, and checks the result at once against PyTorch.

    python tools/export.py --config-file CONFIG --output model.onnx MODEL.WEIGHTS model_final.pth
    python tools/export.py --config-file CONFIG --images photos/ --precision int8 --output model.onnx \\
        MODEL.WEIGHTS model_final.pth

Without --config-file the configuration is the one in MODEL.WEIGHTS, a file that tools/convert_checkpoint.py
export made, or a model that comes with the project (model://NAME).

The exported model is run on images, those of --images or drawn figures, beside the PyTorch model. If its
poses deviate by more than --tolerance, the exit status is 1 and nothing is written. Otherwise there are the
model and model.onnx.json, which says how images are prepared and what was measured. posecore.inference.onnx
runs the two without PyTorch; docs/export.md has the details.
"""

import argparse
import dataclasses
import re
import sys
from contextlib import nullcontext
from pathlib import Path

import posecore  # noqa: F401  (before Detectron2, whose gaps it closes)

# isort: split
from posecore.checkpoint.exported import exported_config
from posecore.checkpoint.weights import require_weights
from posecore.config import get_cfg
from posecore.config.merge import UsageError, merge_config
from posecore.data.images import pixel_limit
from posecore.engine.command_line import check_not_read, check_output_file, positive, run_tool
from posecore.export.comparison import TOLERANCES
from posecore.export.graph import OUTPUTS
from posecore.export.images import drawn_images, read_check_images
from posecore.export.onnx_export import (
    LEAST_SCORE,
    RAW_TOLERANCES,
    ExportReport,
    ExportSettings,
    check_packages,
    export_onnx,
)
from posecore.export.precision import PRECISIONS
from posecore.inference.onnx import OPENVINO_PRECISIONS, SESSIONS, description_file
from posecore.inference.predict import named_weights
from posecore.structures.skeleton import load_skeleton


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__.split("\n")[0], formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--config-file", help="the model's configuration, if it is not in its weights")
    parser.add_argument("--output", type=Path, required=True, help="the model to be written, NAME.onnx")
    parser.add_argument(
        "--outputs", choices=OUTPUTS, default="poses", help="final poses, or raw predictions (default: poses)"
    )
    parser.add_argument(
        "--precision", choices=PRECISIONS, default="float32", help="of the network (default: float32)"
    )
    parser.add_argument(
        "--images", nargs="+", metavar="FILE", help="images, folders or videos (default: drawn figures)"
    )
    parser.add_argument(
        "--boxes", type=Path, help="boxes of the persons in --images, for a model that reads crops of persons"
    )
    parser.add_argument(
        "--num-images", type=positive, default=8, help="the most images that are used (default: %(default)s)"
    )
    parser.add_argument(
        "--threshold", type=float, default=LEAST_SCORE, help="least score of compared persons (%(default)s)"
    )
    parser.add_argument(
        "--tolerance",
        type=float,
        metavar="PIXELS",
        help="deviation that is allowed: the largest one of a keypoint for float32 (0.5), the mean for "
        "float16 and half-precision runtimes (0.5) and int8 (3)",
    )
    parser.add_argument(
        "--dataset", metavar="NAME", help="evaluates both models on this dataset, and compares the results"
    )
    parser.add_argument(
        "--metric-tolerance",
        type=float,
        metavar="POINTS",
        help="loss of the dataset's first metric that is allowed, percent points (0.1; float16 0.5; int8 1)",
    )
    parser.add_argument(
        "--max-persons", type=positive, help="detections of an image (default: TEST.DETECTIONS_PER_IMAGE)"
    )
    parser.add_argument("--backend", choices=SESSIONS, default="onnxruntime", help="the runtime of the check")
    parser.add_argument(
        "--runtime-precision",
        choices=OPENVINO_PRECISIONS,
        default="float32",
        help="that the check's runtime computes float32 parts in; OpenVINO has others (default: float32)",
    )
    parser.add_argument("--threads", type=positive, help="of the runtime (default: its choice)")
    parser.add_argument("opts", nargs=argparse.REMAINDER, help="KEY VALUE pairs, MODEL.WEIGHTS among them")
    options = parser.parse_args()
    settings = _settings(options)
    check_packages(settings)
    check_output_file(options.output, endings=(".onnx",))
    for written in (options.output, description_file(options.output)):
        check_not_read(written, [options.config_file, named_weights(options.opts), options.boxes])
    if swallowed := [text for text in options.images or () if re.fullmatch(r"[A-Z_]+(\.[A-Z0-9_]+)+", text)]:
        raise UsageError(
            f"--images takes all that follows it, {swallowed[0]} too: put another option, such as --output, "
            "between it and the KEY VALUE pairs"
        )
    if options.boxes and not options.images:
        raise UsageError("--boxes are those of the persons in --images: give both")
    overrides = list(options.opts)
    require_weights(named_weights(overrides) or "")
    if options.dataset:
        overrides += ["DATASETS.TEST", f"('{options.dataset}',)"]
    if options.max_persons:
        overrides += ["TEST.DETECTIONS_PER_IMAGE", str(options.max_persons)]
    configuration = (
        nullcontext(merge_config(get_cfg(), options.config_file, overrides))
        if options.config_file
        else exported_config(named_weights(overrides), overrides)
    )
    with configuration as cfg:
        if options.images:
            images = read_check_images(options.images, options.boxes, options.num_images, pixel_limit(cfg))
        else:
            images = drawn_images(load_skeleton(cfg.DATASETS.SKELETON), options.num_images)
        report = export_onnx(cfg, options.output, images, settings)
    _print(report, options)


def _settings(options: argparse.Namespace) -> ExportSettings:
    """
    Raises:
        UsageError: options do not fit each other.
    """
    settings = ExportSettings(
        outputs=options.outputs,
        precision=options.precision,
        tolerance=TOLERANCES[options.precision],
        least_score=options.threshold,
        evaluate=bool(options.dataset),
        backend=options.backend,
        threads=options.threads,
        runtime_precision=options.runtime_precision,
    )
    tolerance = TOLERANCES[settings.computed_precision]
    for name, value in (("pixels", options.tolerance), ("metric", options.metric_tolerance)):
        if value is None:
            continue
        if not value >= 0:
            raise UsageError(f"--tolerance and --metric-tolerance must be 0 or more, not {value}")
        tolerance = dataclasses.replace(tolerance, **{name: value})
    if options.outputs == "raw":
        if options.precision not in RAW_TOLERANCES:
            raise UsageError(f"--precision {options.precision} is for --outputs poses")
        if options.dataset:
            raise UsageError("--dataset needs poses: --outputs must be poses")
    return dataclasses.replace(settings, tolerance=tolerance)


def _print(report: ExportReport, options: argparse.Namespace) -> None:
    """Prints what was measured."""
    size = options.output.stat().st_size / 2**20
    print(
        f"{options.output}: {size:.1f} MiB, {options.precision}, beside it {description_file(options.output)}"
    )
    if report.raw:
        worst = max(report.raw, key=lambda name: report.raw[name])
        print(f"largest deviation: {report.raw[worst]:.2g} of the largest value, output {worst}")
    if (found := report.deviation) is not None:
        print(
            f"{found.persons} persons in {found.images} images; keypoints deviate by "
            f"{found.largest_pixels:.3g} pixels at most, {found.mean_pixels:.3g} on average, "
            f"scores by {found.largest_score:.2g} and {found.mean_score:.2g}; {found.missed} persons are "
            "found by one model alone"
        )
        if found.least_score is None:
            print(
                f"no person has a score of {options.threshold} (--threshold): all were compared",
                file=sys.stderr,
            )
        print(
            f"an image takes {found.milliseconds_exported:.0f} ms, in PyTorch "
            f"{found.milliseconds_pytorch:.0f} ms"
        )
    if (pair := report.metrics) is not None:
        print(f"{pair.name}: {pair.exported[pair.name]:.2f}, in PyTorch {pair.pytorch[pair.name]:.2f}")


if __name__ == "__main__":
    run_tool(main, "export.py")
