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
import inspect
import sys
from collections.abc import Callable, Sequence
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

    command = add_command(commands, "ops", run_ops)
    add_measurement(command, rounds=15)
    add_size(command)
    add_count(command, "--images", 1, "images in a batch", dest="num_images")

    command = add_command(commands, "kpalign", calling(time_kpalign))
    add_measurement(command, rounds=5)
    add_size(command)
    add_count(command, "--candidates", 1000, "locations", dest="num_candidates")

    command = add_command(commands, "model", calling(time_models))
    add_measurement(command, rounds=7)
    add_size(command)
    add_persons(command, [20])
    add_configs(command, IMAGE_METHODS)
    add_overrides(command)
    command.add_argument("--plot", type=Path, help="image of milliseconds over persons, to be written")

    command = add_command(commands, "train", calling(time_training, images=drawn_images))
    add_measurement(command, rounds=5)
    add_drawn_images(command, persons=[5])
    add_configs(command, METHODS)
    add_overrides(command)

    command = add_command(commands, "keys", calling(compare_keys, images=drawn_images))
    add_measurement(command, rounds=5)
    add_drawn_images(command, persons=[5])
    add_configs(command, METHODS)
    command.add_argument(
        "--only",
        nargs="+",
        default=[],
        metavar="KEY",
        help="keys whose rows are wanted, such as MODEL.COMPILE (default: all)",
    )

    command = add_command(commands, "crops", calling(compare_with_rle))
    add_measurement(command, rounds=7)
    add_count(command, "--crops", 4, "persons at once")

    command = add_command(commands, "memory", run_memory)
    add_machine(command)
    command.add_argument("--rounds", type=positive, help="deprecated: memory is measured once")
    add_drawn_images(command, persons=[1, 50])
    add_configs(command, IMAGE_METHODS)
    command.add_argument(
        "--training",
        action="store_true",
        help="of training steps, without and with MODEL.BACKBONE.ACTIVATION_CHECKPOINTING",
    )

    command = add_command(commands, "data", calling(time_mappers))
    add_configs(command, IMAGE_METHODS[:4], "below configs/, of models that take whole images")
    add_count(command, "--images", 32, "of DATASETS.TRAIN", dest="num_images")
    add_count(command, "--rounds", 7, "passes over the images")
    add_overrides(command, "pairs for all of --configs")

    command = add_command(commands, "predict", calling(time_prediction))
    add_measurement(command, rounds=3)
    add_size(command, (480, 640))
    command.add_argument(
        "--config",
        default="fcpose/R_50_1x.yaml",
        help="below configs/, of a model that takes whole images (default: %(default)s)",
    )
    add_count(command, "--images", 16, "image files", dest="num_images")
    add_count(command, "--persons", 5, "drawn in an image, at most")
    add_count(command, "--batch-size", 8, "images of a batch")
    add_overrides(command)

    command = add_command(commands, "tracking", calling(measure_tracking))
    command.add_argument("--skeleton", default="coco_17", help="name of a shipped skeleton or path of a file")
    add_count(command, "--frames", 250, "images of a film, 25 a second", dest="num_frames")
    add_count(command, "--people", 4, "who walk in a film")
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

    command = add_command(commands, "export", calling(time_exports))
    add_configs(command, ("fcpose/R_50_1x.yaml", "poseur/R_50_256x192.yaml"), "below configs/")
    command.add_argument("--compile", dest="compiled", action="store_true", help="time torch.compile too")
    add_size(command, (480, 640))
    add_count(command, "--threads", 2, "threads on the CPU")
    add_count(command, "--rounds", 5, "runs of each form")
    add_overrides(command)

    command = add_command(commands, "cost", run_cost)
    command.add_argument(
        "--configs", nargs="+", metavar="CONFIG", help="files (default: the rows of configs/paper/costs.yaml)"
    )
    add_size(command)
    add_overrides(command, "pairs for all of --configs")

    options = parser.parse_args()
    if "device" in options:
        options.device = find_device(options.device)
        check_device(options.device, "--device")
    if "size" in options:
        options.size = tuple(options.size)
    if getattr(options, "plot", None):
        check_output_file(options.plot, "--plot", PLOTS)
    options.run(options)


def run_ops(options: argparse.Namespace) -> None:
    batch = ImageBatch(options.num_images, options.size, options.device)
    time_operators(batch, rounds=options.rounds, threads=options.threads)


def run_memory(options: argparse.Namespace) -> None:
    if options.rounds is not None:
        print("memory --rounds is deprecated and has no effect: memory is measured once", file=sys.stderr)
    if options.training:
        calling(measure_training_memory, images=drawn_images)(options)
    else:
        calling(measure_memory)(options)


def run_cost(options: argparse.Namespace) -> None:
    rows = chosen_rows(options.configs, options.overrides) if options.configs else published_rows()
    print(cost_table(rows, options.size))


def drawn_images(options: argparse.Namespace) -> DrawnImages:
    return DrawnImages(options.images, options.size, options.persons[0])


def calling(
    measure: Callable[..., object], **made: Callable[[argparse.Namespace], object]
) -> Callable[[argparse.Namespace], None]:
    """A function that calls ``measure`` with the options that have the names of its parameters.

    Args:
        measure: prints a measurement.
        made: parameters that are made of several options.
    """
    names = inspect.signature(measure).parameters

    def run(options: argparse.Namespace) -> None:
        arguments = {name: value for name, value in vars(options).items() if name in names}
        measure(**arguments | {name: make(options) for name, make in made.items()})

    return run


def add_command(
    commands: argparse._SubParsersAction, name: str, run: Callable[[argparse.Namespace], None]
) -> argparse.ArgumentParser:
    command = commands.add_parser(name)
    command.set_defaults(run=run)
    return command


def add_measurement(command: argparse.ArgumentParser, rounds: int) -> None:
    """Adds where candidates run, and how often."""
    add_machine(command)
    add_count(command, "--rounds", rounds, "runs of each candidate")


def add_machine(command: argparse.ArgumentParser) -> None:
    command.add_argument("--device", choices=("auto", "cpu", "cuda"), default="auto")
    add_count(command, "--threads", 2, "threads on the CPU")


def add_count(
    command: argparse.ArgumentParser, option: str, default: int, text: str, dest: str | None = None
) -> None:
    """Adds an option that counts something; ``dest`` is the parameter's name where it is another."""
    command.add_argument(
        option, dest=dest, type=positive, default=default, help=f"{text} (default: %(default)s)"
    )


def add_size(command: argparse.ArgumentParser, default: tuple[int, int] = (800, 1216)) -> None:
    command.add_argument(
        "--size", type=positive, nargs=2, default=default, metavar=("HEIGHT", "WIDTH"), help="of an image"
    )


def add_persons(command: argparse.ArgumentParser, default: list[int]) -> None:
    command.add_argument(
        "--persons", type=positive, nargs="+", default=default, help="in the image (default: %(default)s)"
    )


def add_drawn_images(command: argparse.ArgumentParser, persons: list[int]) -> None:
    """Adds what :func:`drawn_images` reads."""
    add_size(command)
    add_persons(command, persons)
    add_count(command, "--images", 2, "images in a batch of training")


def add_configs(
    command: argparse.ArgumentParser, default: Sequence[str], text: str = "ours, below configs/"
) -> None:
    command.add_argument(
        "--configs", nargs="+", default=[*default], metavar="CONFIG", help=f"{text} (default: %(default)s)"
    )


def add_overrides(command: argparse.ArgumentParser, text: str = "pairs for our models, at the end") -> None:
    command.add_argument("--opts", dest="overrides", nargs="+", default=[], metavar="KEY VALUE", help=text)


if __name__ == "__main__":
    run_tool(main, "benchmark.py")
