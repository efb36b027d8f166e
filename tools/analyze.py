"""Looks into a trained model: images of what it attends to, predicts and learns.

    python tools/analyze.py training output/metrics.json --output curves.png
    python tools/analyze.py errors keypoints_coco_2017_val coco_instances_results.json
    python tools/analyze.py tracking film.json out/poses.json
    python tools/analyze.py report coco_instances_results.json --dataset keypoints_coco_2017_val \\
        --output report.html
    python tools/analyze.py attention --config-file CONFIG --input photo.jpg --cells 250 720 \\
        --output attention.png MODEL.WEIGHTS model_final.pth
    python tools/analyze.py centers --config-file CONFIG --output centers.png MODEL.WEIGHTS model_final.pth

and in the same way visibility, layers and keypoints.
"""

import argparse
from collections.abc import Callable, Sequence
from pathlib import Path

import posecore  # noqa: F401  (before Detectron2, whose gaps it closes)

# isort: split
from poet import POET
from poet.analysis.attention import draw_attention
from poet.analysis.centers import plot_centers
from poet.analysis.layers import evaluate_layers, plot_layers
from poet.analysis.visibility import plot_visibility
from posecore.config.merge import UsageError
from posecore.data import build_samples
from posecore.data.image_writer import write_image
from posecore.engine.command_line import (
    IMAGES,
    PAGES,
    PLOTS,
    check_not_read,
    check_output_file,
    count,
    positive,
    run_tool,
)
from posecore.evaluation.errors import describe_errors_of_file
from posecore.evaluation.track_files import evaluate_track_files
from posecore.inference.load_model import load_model
from posecore.inference.video import read_images
from posecore.reports.results_page import write_results_report
from posecore.visualization.curves import plot_training
from poseur import Poseur
from poseur.analysis import draw_keypoint_attention


def training(options: argparse.Namespace) -> None:
    """The losses and the AP over a training (POET, Figures 4 and 6)."""
    check_not_read(options.output, [options.metrics])
    plot_training(options.metrics, options.output)
    print(options.output)


def attention(options: argparse.Namespace) -> None:
    """Where POET looks (Figure 5): the encoder from chosen points, the decoder for each detected person."""
    if len(options.cells) % 2:
        raise ValueError("--cells needs x and y of every point")
    check_not_read(options.output, [options.input])
    points = list(zip(options.cells[::2], options.cells[1::2], strict=True))
    cfg, model = load_model(options.config_file, options.opts, POET)
    image = next(iter(read_images(options.input, cfg.INPUT.MAX_PIXELS))).image
    maps = draw_attention(
        model, build_samples(cfg), image, points, threshold=options.threshold, columns=options.columns
    )
    write_image(options.output, maps)
    print(options.output)


def centers(options: argparse.Namespace) -> None:
    """The centers that POET learns (Figure 7): on an image with the offsets, and beside the ground truth."""
    cfg, model = load_model(options.config_file, options.opts, POET)
    print(plot_centers(cfg, model, options.output, num_images=options.images))
    print(options.output)


def visibility(options: argparse.Namespace) -> None:
    """Predicted visibilities beside COCO's flags (POET, Figure 8): not labeled, hidden, visible."""
    cfg, model = load_model(options.config_file, options.opts, POET)
    print(plot_visibility(cfg, model, options.output, num_images=options.images))
    print(options.output)


def layers(options: argparse.Namespace) -> None:
    """AP after each decoder layer of POET (Figure 9), from one pass over the first of DATASETS.TEST."""
    cfg, model = load_model(options.config_file, options.opts, POET)
    print(plot_layers(evaluate_layers(cfg, model), options.output))
    print(options.output)


def keypoints(options: argparse.Namespace) -> None:
    """Which keypoints look at which in Poseur (supplement, Figure 2), on persons of DATASETS.TEST."""
    cfg, model = load_model(options.config_file, options.opts, Poseur)
    image = draw_keypoint_attention(
        cfg,
        model,
        keypoint=options.keypoint,
        layer=options.layer,
        num_persons=options.persons,
        columns=options.columns,
    )
    write_image(options.output, image)
    print(options.output)


def errors(options: argparse.Namespace) -> None:
    """What is wrong with the poses of an evaluation, and what each kind of error costs in AP."""
    print(describe_errors_of_file(options.dataset, options.results))


def tracking(options: argparse.Namespace) -> None:
    """How well predict.py --track follows persons: switches, fragments, MOTA, IDF1 and HOTA."""
    print(evaluate_track_files(options.ground_truth, options.poses, options.skeleton, options.oks))


def report(options: argparse.Namespace) -> None:
    """A page about the poses of an evaluation, alone or beside another: figures, errors, images; and JSON."""
    figures = options.output.with_suffix(".json")
    check_output_file(figures)
    if not 0 <= options.seed < 2**32:
        raise UsageError(f"--seed must be from 0 to {2**32 - 1}, not {options.seed}")
    run = write_results_report(
        options.results,
        options.dataset,
        options.output,
        against=options.against,
        gallery=options.gallery,
        draws=options.bootstrap,
        seed=options.seed,
    )
    precision = run.headline["AP"]
    print(
        f"AP {precision.value:.1f} ({precision.low:.1f} to {precision.high:.1f}): {options.output}, {figures}"
    )


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    commands = parser.add_subparsers(required=True, metavar="COMMAND")

    command = add_command(commands, training)
    command.add_argument("metrics", type=Path, help="metrics.json of the training's OUTPUT_DIR")
    add_output(command, PLOTS)

    command = add_command(commands, attention)
    command.add_argument("--input", type=Path, required=True, help="an image")
    command.add_argument(
        "--cells",
        type=float,
        nargs="+",
        default=[],
        metavar="X Y",
        help="points of the image, pixels, that the encoder looks from",
    )
    command.add_argument("--threshold", type=float, default=0.5, help="least score of a person (default 0.5)")
    command.add_argument("--columns", type=positive, default=3, help="maps in a row (default 3)")
    add_model_options(command, IMAGES)

    for function in (centers, visibility):
        command = add_command(commands, function)
        command.add_argument(
            "--images", type=positive, default=None, help="look at so many only (default: all)"
        )
        add_model_options(command, PLOTS)

    add_model_options(add_command(commands, layers), PLOTS)

    command = add_command(commands, keypoints)
    command.add_argument("--keypoint", default="left_shoulder", help="who looks (default left_shoulder)")
    command.add_argument("--persons", type=positive, default=6, help="how many are drawn (default 6)")
    command.add_argument(
        "--layer", type=int, default=-1, help="which decoder layer, from 0 (default the last)"
    )
    command.add_argument("--columns", type=positive, default=6, help="persons in a row (default 6)")
    add_model_options(command, IMAGES)

    command = add_command(commands, errors)
    command.add_argument("dataset", help="path of a definition (.yaml) or name of a built-in dataset")
    command.add_argument("results", type=Path, help="coco_instances_results.json of an evaluation on it")

    command = add_command(commands, tracking)
    command.add_argument(
        "ground_truth", type=Path, help="videos, images and tracks in COCO's format for videos"
    )
    command.add_argument("poses", type=Path, help="poses.json of predict.py --track on these videos")
    command.add_argument("--skeleton", default="coco_17", help="name or path (default: %(default)s)")
    command.add_argument(
        "--oks", type=float, default=0.5, help="least OKS of a match, but for HOTA (default: %(default)s)"
    )

    command = add_command(commands, report)
    command.add_argument(
        "results", type=Path, help="coco_instances_results.json of an evaluation, or the folder that holds it"
    )
    command.add_argument("--against", type=Path, help="the results of another model on the same dataset")
    command.add_argument(
        "--dataset", required=True, help="path of a definition (.yaml) or name of a built-in dataset"
    )
    command.add_argument(
        "--output", type=Path, required=True, help="the page to write; the figures go beside it as .json"
    )
    command.set_defaults(endings=PAGES)
    command.add_argument("--gallery", type=positive, default=120, help="persons in the gallery (default 120)")
    command.add_argument(
        "--bootstrap", type=count, default=500, help="samples of the intervals, 0 for none (default 500)"
    )
    command.add_argument("--seed", type=int, default=0, help="of the samples (default 0)")

    options = parser.parse_args()
    if "output" in options:
        check_output_file(options.output, endings=options.endings)
    options.run(options)


def add_command(
    commands: argparse._SubParsersAction, run: Callable[[argparse.Namespace], None]
) -> argparse.ArgumentParser:
    """Adds a command with a function's name and docstring, which calls the function."""
    command = commands.add_parser(run.__name__, help=run.__doc__, description=run.__doc__)
    command.set_defaults(run=run)
    return command


def add_output(command: argparse.ArgumentParser, endings: Sequence[str]) -> None:
    """Adds --output, a file with one of these endings."""
    command.add_argument("--output", type=Path, required=True, help="the image to write")
    command.set_defaults(endings=endings)


def add_model_options(command: argparse.ArgumentParser, endings: Sequence[str]) -> None:
    """Adds --config-file, --output (:func:`add_output`) and KEY VALUE pairs."""
    command.add_argument("--config-file", required=True, help="the model's configuration")
    add_output(command, endings)
    command.add_argument("opts", nargs=argparse.REMAINDER, help="KEY VALUE pairs, MODEL.WEIGHTS among them")


if __name__ == "__main__":
    run_tool(main, "analyze.py")
