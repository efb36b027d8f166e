"""Measures parts of the project beside what they replace.

    python tools/benchmark.py ops       our operators beside torch's grid_sample
    python tools/benchmark.py kpalign   KPAlign's cheap forms beside the plain one
    python tools/benchmark.py model     inference beside Detectron2's Keypoint R-CNN
    python tools/benchmark.py train     training steps beside the same
    python tools/benchmark.py keys      training and prediction with each key of speed and memory on and off
    python tools/benchmark.py crops     Poseur beside RLE
    python tools/benchmark.py memory    peak memory of a prediction beside the same; --training, of training
    python tools/benchmark.py data      training samples beside Detectron2's mapper
    python tools/benchmark.py predict   prediction on image files end to end, and where the time goes
    python tools/benchmark.py tracking  the tracker on drawn films whose identities are known
    python tools/benchmark.py export    exported models beside PyTorch, on the CPU
    python tools/benchmark.py cost      parameters and multiply-adds, beside the papers' figures

Candidates run in one process and take turns, so that other load on the machine meets all of them; figures
are medians.
"""

import argparse
from collections.abc import Callable
from pathlib import Path

import posecore  # noqa: F401  (before Detectron2, whose gaps it closes)

# isort: split
from directpose.benchmark import time_kpalign
from posecore.benchmarks.cost import chosen_rows, cost_table, published_rows
from posecore.benchmarks.data import time_mappers
from posecore.benchmarks.export import time_exports
from posecore.benchmarks.keys import compare_keys
from posecore.benchmarks.memory import measure_memory, measure_training_memory
from posecore.benchmarks.model import time_models
from posecore.benchmarks.operators import time_operators
from posecore.benchmarks.prediction import time_prediction
from posecore.benchmarks.timing import ImageBatch
from posecore.benchmarks.tracking import measure_tracking
from posecore.benchmarks.training import DrawnImages, time_training
from posecore.config.device import check_device, find_device
from posecore.engine.command_line import PLOTS, check_output_file, positive, run_tool
from poseur.benchmark import compare_with_rle

# The methods that read whole images, and all methods.
IMAGE_METHODS = (
    "directpose/R_50_25ep.yaml",
    "fcpose/R_50_1x.yaml",
    "inspose/R_50_36ep.yaml",
    "poet/R_50.yaml",
    "grouppose/R_50.yaml",
)
METHODS = (*IMAGE_METHODS, "poseur/R_50_256x192.yaml")


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    commands = parser.add_subparsers(required=True, metavar="COMMAND")

    command = _add(commands, "ops", run_ops, rounds=15)
    _add_size(command)
    command.add_argument(
        "--images",
        dest="num_images",
        type=positive,
        default=1,
        help="images in a batch (default: %(default)s)",
    )

    command = _add(commands, "kpalign", run_kpalign, rounds=5)
    _add_size(command)
    command.add_argument("--candidates", type=positive, default=1000, help="locations (default: %(default)s)")

    command = _add(commands, "model", run_model, rounds=7)
    _add_size(command)
    _add_models(command, persons=[20])
    _add_overrides(command)
    command.add_argument("--plot", type=Path, help="image of milliseconds over persons, to be written")

    command = _add(commands, "train", run_train, rounds=5)
    _add_size(command)
    _add_models(command, persons=[5], configs=METHODS)
    _add_images(command)
    _add_overrides(command)

    command = _add(commands, "keys", run_keys, rounds=5)
    _add_size(command)
    _add_models(command, persons=[5], configs=METHODS)
    _add_images(command)
    command.add_argument(
        "--only",
        nargs="+",
        default=[],
        metavar="KEY",
        help="keys whose rows are wanted, such as MODEL.COMPILE (default: all)",
    )

    command = _add(commands, "crops", run_crops, rounds=7)
    command.add_argument("--crops", type=positive, default=4, help="persons at once (default: %(default)s)")

    command = _add(commands, "memory", run_memory, rounds=1)
    _add_size(command)
    _add_models(command, persons=[1, 50])
    command.add_argument(
        "--training",
        action="store_true",
        help="of training steps, without and with MODEL.BACKBONE.ACTIVATION_CHECKPOINTING",
    )
    _add_images(command)

    command = commands.add_parser("data")
    command.set_defaults(run=run_data)
    command.add_argument(
        "--configs",
        nargs="+",
        default=[
            "directpose/R_50_25ep.yaml",
            "fcpose/R_50_1x.yaml",
            "inspose/R_50_36ep.yaml",
            "poet/R_50.yaml",
        ],
        metavar="CONFIG",
        help="below configs/, of models that take whole images (default: %(default)s)",
    )
    command.add_argument(
        "--images",
        dest="num_images",
        type=positive,
        default=32,
        help="of DATASETS.TRAIN (default: %(default)s)",
    )
    command.add_argument(
        "--rounds", type=positive, default=7, help="passes over the images (default: %(default)s)"
    )
    command.add_argument(
        "--opts", nargs="+", default=[], metavar="KEY VALUE", help="pairs for all of --configs"
    )

    command = _add(commands, "predict", run_predict, rounds=3)
    _add_size(command)
    command.set_defaults(size=(480, 640))
    command.add_argument(
        "--config",
        default="fcpose/R_50_1x.yaml",
        help="below configs/, of a model that takes whole images (default: %(default)s)",
    )
    command.add_argument("--images", type=positive, default=16, help="image files (default: %(default)s)")
    command.add_argument(
        "--persons", type=positive, default=5, help="drawn in an image, at most (default: %(default)s)"
    )
    command.add_argument(
        "--batch-size", type=positive, default=8, help="images of a batch (default: %(default)s)"
    )
    _add_overrides(command)

    command = commands.add_parser("tracking")
    command.set_defaults(run=run_tracking)
    command.add_argument("--skeleton", default="coco_17", help="name of a shipped skeleton or path of a file")
    command.add_argument(
        "--frames", type=positive, default=250, help="images of a film, 25 a second (default: %(default)s)"
    )
    command.add_argument(
        "--people", type=positive, default=4, help="who walk in a film (default: %(default)s)"
    )
    command.add_argument(
        "--seeds", type=int, nargs="+", default=[0, 1, 2, 3], help="a film each (default: %(default)s)"
    )
    command.add_argument(
        "--patience",
        type=float,
        nargs="+",
        default=[0.0, 1.0, 2.0, 4.0],
        help="seconds that a lost person is waited for (default: %(default)s)",
    )

    command = commands.add_parser("export")
    command.set_defaults(run=run_export)
    command.add_argument(
        "--configs",
        nargs="+",
        default=["fcpose/R_50_1x.yaml", "poseur/R_50_256x192.yaml"],
        metavar="CONFIG",
        help="below configs/ (default: %(default)s)",
    )
    command.add_argument("--compile", action="store_true", help="time torch.compile too")
    command.add_argument(
        "--size", type=positive, nargs=2, default=(480, 640), metavar=("HEIGHT", "WIDTH"), help="of an image"
    )
    command.add_argument("--threads", type=positive, default=2, help="(default: %(default)s)")
    command.add_argument(
        "--rounds", type=positive, default=5, help="runs of each form (default: %(default)s)"
    )
    _add_overrides(command)

    command = commands.add_parser("cost")
    command.set_defaults(run=run_cost)
    command.add_argument(
        "--configs", nargs="+", metavar="CONFIG", help="files (default: the rows of configs/paper/costs.yaml)"
    )
    _add_size(command)
    command.add_argument(
        "--opts", nargs="+", default=[], metavar="KEY VALUE", help="pairs for all of --configs"
    )

    options = parser.parse_args()
    if "device" in options:
        options.device = find_device(options.device)
        check_device(options.device, "--device")
    if getattr(options, "plot", None):
        check_output_file(options.plot, "--plot", PLOTS)
    options.run(options)


def run_ops(options: argparse.Namespace) -> None:
    batch = ImageBatch(options.num_images, tuple(options.size), options.device)
    time_operators(batch, rounds=options.rounds, threads=options.threads)


def run_kpalign(options: argparse.Namespace) -> None:
    time_kpalign(
        size=tuple(options.size),
        num_candidates=options.candidates,
        device=options.device,
        threads=options.threads,
        rounds=options.rounds,
    )


def run_model(options: argparse.Namespace) -> None:
    time_models(
        options.configs,
        persons=options.persons,
        size=tuple(options.size),
        device=options.device,
        threads=options.threads,
        rounds=options.rounds,
        overrides=options.opts,
        plot=options.plot,
    )


def run_crops(options: argparse.Namespace) -> None:
    compare_with_rle(
        crops=options.crops, device=options.device, threads=options.threads, rounds=options.rounds
    )


def run_train(options: argparse.Namespace) -> None:
    time_training(
        options.configs,
        images=_drawn_images(options),
        overrides=options.opts,
        device=options.device,
        threads=options.threads,
        rounds=options.rounds,
    )


def run_keys(options: argparse.Namespace) -> None:
    compare_keys(
        options.configs,
        images=_drawn_images(options),
        only=options.only,
        device=options.device,
        threads=options.threads,
        rounds=options.rounds,
    )


def run_memory(options: argparse.Namespace) -> None:
    if options.training:
        measure_training_memory(
            options.configs,
            images=_drawn_images(options),
            device=options.device,
            threads=options.threads,
        )
        return
    measure_memory(
        options.configs,
        persons=options.persons,
        size=tuple(options.size),
        device=options.device,
        threads=options.threads,
    )


def run_data(options: argparse.Namespace) -> None:
    time_mappers(options.configs, options.opts, num_images=options.num_images, rounds=options.rounds)


def run_predict(options: argparse.Namespace) -> None:
    time_prediction(
        options.config,
        num_images=options.images,
        size=tuple(options.size),
        persons=options.persons,
        batch_size=options.batch_size,
        device=options.device,
        threads=options.threads,
        rounds=options.rounds,
        overrides=options.opts,
    )


def run_tracking(options: argparse.Namespace) -> None:
    measure_tracking(
        skeleton=options.skeleton,
        num_frames=options.frames,
        people=options.people,
        seeds=options.seeds,
        patience=options.patience,
    )


def run_export(options: argparse.Namespace) -> None:
    time_exports(
        options.configs,
        overrides=options.opts,
        compiled=options.compile,
        size=tuple(options.size),
        threads=options.threads,
        rounds=options.rounds,
    )


def run_cost(options: argparse.Namespace) -> None:
    rows = chosen_rows(options.configs, options.opts) if options.configs else published_rows()
    print(cost_table(rows, tuple(options.size)))


def _add(
    commands: argparse._SubParsersAction, name: str, run: Callable[[argparse.Namespace], None], rounds: int
) -> argparse.ArgumentParser:
    """Adds a subcommand with the options of all measurements."""
    command = commands.add_parser(name)
    command.set_defaults(run=run)
    command.add_argument("--device", choices=("auto", "cpu", "cuda"), default="auto")
    command.add_argument(
        "--threads", type=positive, default=2, help="threads on the CPU (default: %(default)s)"
    )
    command.add_argument(
        "--rounds", type=positive, default=rounds, help="runs of each candidate (default: %(default)s)"
    )
    return command


def _add_size(command: argparse.ArgumentParser) -> None:
    command.add_argument(
        "--size", type=positive, nargs=2, default=(800, 1216), metavar=("HEIGHT", "WIDTH"), help="of an image"
    )


def _drawn_images(options: argparse.Namespace) -> DrawnImages:
    return DrawnImages(options.images, tuple(options.size), options.persons[0])


def _add_overrides(command: argparse.ArgumentParser) -> None:
    command.add_argument(
        "--opts", nargs="+", default=[], metavar="KEY VALUE", help="pairs for our models, at the end"
    )


def _add_images(command: argparse.ArgumentParser) -> None:
    command.add_argument(
        "--images", type=positive, default=2, help="images in a batch of training (default: %(default)s)"
    )


def _add_models(
    command: argparse.ArgumentParser, persons: list[int], configs: tuple[str, ...] = IMAGE_METHODS
) -> None:
    """Adds the options of the comparisons with Keypoint R-CNN."""
    command.add_argument(
        "--persons", type=positive, nargs="+", default=persons, help="in the image (default: %(default)s)"
    )
    command.add_argument(
        "--configs",
        nargs="+",
        default=list(configs),
        metavar="CONFIG",
        help="ours, below configs/ (default: %(default)s)",
    )


if __name__ == "__main__":
    run_tool(main, "benchmark.py")
