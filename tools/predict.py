"""Finds the poses in images, folders, videos or from a camera; draws them and writes them as JSON.

    python tools/predict.py --input photo.jpg --output out
    python tools/predict.py --config-file CONFIG --input photo.jpg folder/ film.mp4 --output out \\
        MODEL.WEIGHTS model_final.pth

Without --config-file the configuration is the one in MODEL.WEIGHTS, an exported model: a file, or a model
that comes with the project (model://NAME, listed by python -m posecore.models). Without MODEL.WEIGHTS as
well, the default one of these models is taken, and the tool says which it is. A model that tools/export.py
wrote (NAME.onnx) runs in ONNX Runtime or, with --backend openvino, in OpenVINO.

The output folder gets a drawing of every image under its name, a film of every video, and poses.json:
a list with, per image, its name, its number and time (seconds) in the video, its height and width, and per
person the score, the box (x0, y0, x1, y1) and the keypoints (x, y, confidence) by name, in continuous pixels.
Images of the same name in different folders are called by these too: a/1.jpg, b/1.jpg. A drawing that would
overwrite an input is refused before anything is read. The output folder may lie in an input folder; what is
in it is no input.

--format writes another format beside poses.json: coco_results.json, openpose/ or labelme/.

--track gives each person of a video, or of a folder of images in the order of their names, an id that stays
the same from image to image. --smooth smooths the keypoints of these persons over time. docs/prediction.md
says how both work.

An image that cannot be read is reported and the others follow; the exit status is then 1. What was found
before an interruption is kept; after a kill, --recover or the next prediction into the same folder writes it
to poses.partial.json.

A model that looks at one person at a time (Poseur) needs their boxes: from a detector, any model of this
project or of Detectron2 (--detector-config, --detector-weights; an exported model needs no configuration), or
from a file (--boxes), which is a poses.json of the same images or detections in COCO's result format whose
image_id is the image's name without its ending, or the number that this name is.
"""

import argparse
import math
import sys
from pathlib import Path

from posecore.engine.command_line import positive, run_tool
from posecore.inference.exported_predictor import RuntimeSettings
from posecore.inference.image_boxes import ImageBoxes
from posecore.inference.interchange import FORMATS, POSECORE, read_image_ids
from posecore.inference.onnx import SESSIONS
from posecore.inference.predict import (
    DetectorFiles,
    PredictionSettings,
    build_predictor,
    named_weights,
    predict_sources,
)
from posecore.inference.prediction_writer import recover
from posecore.inference.smoothing import SmoothingSettings
from posecore.inference.tracking import TrackingSettings
from posecore.inference.video import DEFAULT_RATE
from posecore.models import SCHEME, default_model


def main() -> int | None:
    parser = argparse.ArgumentParser(
        description=__doc__.split("\n")[0], formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--config-file", help="the model's configuration, if it is not in its weights")
    parser.add_argument(
        "--input",
        nargs="+",
        help="images, folders, videos, streams (rtsp://, http://), or a camera's number",
    )
    parser.add_argument("--output", type=Path, required=True, help="folder for drawings and poses.json")
    parser.add_argument("--threshold", type=float, default=0.3, help="least score of a person (default 0.3)")
    parser.add_argument(
        "--keypoint-threshold",
        type=float,
        default=0.0,
        metavar="THRESHOLD",
        help="draw keypoints with a greater score only; poses.json has all (default 0)",
    )
    parser.add_argument("--detector-config", help="configuration of a detector of persons, likewise")
    parser.add_argument("--detector-weights", help="its weights")
    parser.add_argument("--boxes", type=Path, help="file with boxes of persons, instead of a detector")
    parser.add_argument(
        "--batch-size",
        type=positive,
        default=1,
        metavar="N",
        help="images of one size that are predicted at once (default 1); more is faster on a GPU",
    )
    parser.add_argument(
        "--backend", choices=SESSIONS, help="the runtime of an exported NAME.onnx (default: onnxruntime)"
    )
    parser.add_argument(
        "--threads", type=positive, help="of the runtime of an exported NAME.onnx (default: its choice)"
    )
    parser.add_argument(
        "--format",
        choices=FORMATS,
        default=POSECORE,
        help="another format that is written beside poses.json (default: posecore, none)",
    )
    parser.add_argument(
        "--image-ids",
        type=Path,
        metavar="FILE",
        help="annotation file that has the image_id of each file name, for --format coco",
    )
    add_video_options(parser)
    parser.add_argument(
        "--recover",
        action="store_true",
        help="write what a killed prediction has left in --output to poses.partial.json, and end",
    )
    parser.add_argument("--show", action="store_true", help="show a window too; needs opencv-python; q stops")
    parser.add_argument("opts", nargs=argparse.REMAINDER, help="KEY VALUE pairs, MODEL.WEIGHTS among them")
    options = parser.parse_args()
    if options.recover:
        file = recover(options.output)
        print(file or f"there is nothing to recover in {options.output}")
        return None
    if not options.input:
        parser.error("--input is required")
    if options.image_ids and options.format != "coco":
        parser.error("--image-ids is for --format coco")
    if options.detector_config and not options.detector_weights:
        parser.error("--detector-config and --detector-weights go together")
    if options.detector_weights and options.boxes:
        parser.error("boxes come from --boxes or from --detector-weights, not from both")
    for name, value in (
        ("--threshold", options.threshold),
        ("--keypoint-threshold", options.keypoint_threshold),
    ):
        if not math.isfinite(value):
            parser.error(f"{name} must be a finite number, not {value}")
    detector = None
    if options.detector_weights:
        detector = DetectorFiles(options.detector_config, options.detector_weights)
    overrides = options.opts
    if not options.config_file and not named_weights(overrides):
        model = default_model()
        print(f"no model is named: taking {model.summary()}")
        overrides = ["MODEL.WEIGHTS", f"{SCHEME}{model.name}", *overrides]
    settings = PredictionSettings(
        threshold=options.threshold,
        keypoint_threshold=options.keypoint_threshold,
        batch_size=options.batch_size,
        tracking=tracking_settings(options),
        image_rate=options.image_rate,
        smoothing=smoothing_settings(options),
        output_format=options.format,
        image_ids=read_image_ids(options.image_ids) if options.image_ids else None,
        show=options.show,
    )
    runtime = None
    if options.backend or options.threads:
        runtime = RuntimeSettings(options.backend or RuntimeSettings.backend, options.threads)
    predictor = build_predictor(
        options.config_file, overrides, detector=detector, boxes_given=bool(options.boxes), runtime=runtime
    )
    summary = predict_sources(
        predictor,
        options.input,
        options.output,
        find_boxes=ImageBoxes.read(options.boxes) if options.boxes else None,
        settings=settings,
    )
    print(f"{summary.num_people} people in {summary.num_images} images: {options.output}")
    if summary.num_images and not summary.num_people:
        print(f"nothing was found: no person has a score of {options.threshold} (--threshold) or more")
    if summary.failures:
        print(f"predict.py: {len(summary.failures)} failed:", *summary.failures, sep="\n  ", file=sys.stderr)
        return 1
    return None


def add_video_options(parser: argparse.ArgumentParser) -> None:
    """Adds the options of tracking and smoothing."""

    def add_number(option: str, default: float, unit: str, text: str) -> None:
        parser.add_argument(
            option, type=type(default), default=default, metavar=unit, help=f"{text} (default: %(default)s)"
        )

    tracking, smoothing = TrackingSettings, SmoothingSettings
    parser.add_argument("--track", action="store_true", help="give the persons of videos and folders ids")
    text = "least similarity of a person to where it is expected, 0 to 1"
    add_number("--track-similarity", tracking.similarity, "OKS", text)
    text = "images, one after the other, that a new person must be in to get an id"
    add_number("--track-hits", tracking.hits, "N", text)
    text = "how long a lost person is waited for; later it is a new one"
    add_number("--track-patience", tracking.patience, "SECONDS", text)
    text = "images per second of image files, which are followed as a video in the order of their names"
    add_number("--image-rate", DEFAULT_RATE, "HZ", text)
    text = "smooth the keypoints of persons over time; implies --track"
    parser.add_argument("--smooth", action="store_true", help=text)
    text = "cutoff frequency of a keypoint at rest; less smooths more"
    add_number("--smooth-cutoff", smoothing.min_cutoff, "HZ", text)
    text = "how much it grows with the speed, per person's size in a second; more lags less"
    add_number("--smooth-beta", smoothing.beta, "HZ", text)


def tracking_settings(options: argparse.Namespace) -> TrackingSettings | None:
    if not (options.track or options.smooth):
        return None
    return TrackingSettings(options.track_similarity, options.track_hits, options.track_patience)


def smoothing_settings(options: argparse.Namespace) -> SmoothingSettings | None:
    if not options.smooth:
        return None
    return SmoothingSettings(min_cutoff=options.smooth_cutoff, beta=options.smooth_beta)


if __name__ == "__main__":
    run_tool(main, "predict.py")
