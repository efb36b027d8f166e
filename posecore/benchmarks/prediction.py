"""Times a prediction on image files from end to end, and where the time goes (:func:`time_prediction`)."""

import logging
import tempfile
from collections.abc import Callable, Sequence
from functools import partial
from pathlib import Path

import numpy as np
import torch

from posecore.benchmarks.timing import describe_machine, take_turns
from posecore.config import get_cfg
from posecore.config.merge import merge_config
from posecore.config.repository import CONFIGS
from posecore.data.image_writer import write_image
from posecore.data.images import read_image
from posecore.data.synthetic import Scene, make_image
from posecore.data.synthetic.figures import figure_maker
from posecore.engine.markdown import markdown_table
from posecore.inference.predict import PredictionSettings, predict_sources
from posecore.inference.predictor import Predictor
from posecore.structures.skeleton import Skeleton, load_skeleton
from posecore.visualization.poses import draw_poses

# The loop without threads that predicts one image at a time.
LOOP = "one by one, no threads"


def time_prediction(
    config: str,
    *,
    num_images: int,
    size: tuple[int, int],
    persons: int,
    batch_size: int,
    device: str,
    threads: int,
    rounds: int,
    overrides: Sequence[str] = (),
) -> dict[str, float]:
    """Prints images per second of ``tools/predict.py``'s loop with and without threads and batches.

    The parts of the loop are timed on their own beside it. The weights are random where the overrides name
    none; a model with random weights finds hardly anybody, and drawing then costs little.

    Args:
        config: a model that takes whole images, below configs/.
        num_images: JPEG files of drawn figures.
        size: their height and width, pixels.
        persons: drawn in each image, at most (TEST.DETECTIONS_PER_IMAGE).
        batch_size: of the prediction in batches.
        device: "cpu" or "cuda".
        threads: on the CPU.
        rounds: runs of each candidate, in turns.
        overrides: KEY VALUE pairs for the model, flat.

    Returns:
        The median milliseconds per image of each candidate and part.
    """
    torch.manual_seed(0)
    torch.set_num_threads(threads)
    pairs = ["MODEL.WEIGHTS", "random", "TEST.DETECTIONS_PER_IMAGE", str(persons), *overrides]
    cfg = merge_config(get_cfg(), CONFIGS / config, [*pairs, "MODEL.DEVICE", device])
    predictor = Predictor.from_config(cfg)
    skeleton = load_skeleton(cfg.DATASETS.SKELETON)
    logging.getLogger("posecore").setLevel(logging.ERROR)
    with tempfile.TemporaryDirectory() as folder:
        files = _draw_files(Path(folder) / "images", num_images, size, skeleton)
        candidates = _loops(predictor, files, Path(folder), batch_size)
        parts = _parts(predictor, skeleton, files, Path(folder) / "image.jpg")
        passes = take_turns(candidates | parts, rounds, device)
    times = {name: milliseconds / num_images for name, milliseconds in passes.items()}
    print(f"{describe_machine(device)}; {config}, {num_images} images of {size[0]} x {size[1]}")
    print(f"medians of {rounds} rounds; {' '.join(overrides) or 'random weights'}\n")
    rows = [
        [name, f"{times[name]:.1f}", f"{1e3 / times[name]:.2f}", f"{times[LOOP] / times[name]:.2f}"]
        for name in candidates
    ]
    print(markdown_table(["prediction", "ms per image", "images/s", "speed"], rows), end="\n\n")
    rows = [[name, f"{times[name]:.1f}", f"{times[name] / times[LOOP]:.1%}"] for name in parts]
    print(markdown_table(["part", "ms per image", "share of one by one"], rows))
    return times


def _draw_files(folder: Path, count: int, size: tuple[int, int], skeleton: Skeleton) -> list[Path]:
    """JPEG files of drawn figures."""
    folder.mkdir()
    maker = figure_maker(skeleton)
    files = [folder / f"{index:04d}.jpg" for index in range(count)]
    for index, file in enumerate(files):
        write_image(file, make_image(np.random.default_rng(index), maker, size, Scene())[0])
    return files


def _loops(
    predictor: Predictor, files: Sequence[Path], folder: Path, batch_size: int
) -> dict[str, Callable[[], object]]:
    """The whole prediction in each of its ways, by name."""
    ways = {
        LOOP: PredictionSettings(threshold=-np.inf, read_ahead=0),
        "one by one, threads": PredictionSettings(threshold=-np.inf),
        f"batches of {batch_size}, threads": PredictionSettings(threshold=-np.inf, batch_size=batch_size),
    }
    sources = [str(file) for file in files]
    return {
        name: partial(predict_sources, predictor, sources, folder / "out", settings=settings)
        for name, settings in ways.items()
    }


def _parts(
    predictor: Predictor, skeleton: Skeleton, files: Sequence[Path], target: Path
) -> dict[str, Callable[[], object]]:
    """Each part of the loop on all images, by name."""

    def write() -> None:
        for drawing in drawings:
            write_image(target, drawing)

    images = [read_image(file) for file in files]
    samples = [predictor.sample(image) for image in images]
    poses = [predictor.of_samples([sample])[0] for sample in samples]
    drawings = [draw_poses(*pair, skeleton) for pair in zip(images, poses, strict=True)]
    return {
        "read": lambda: [read_image(file) for file in files],
        "prepare": lambda: [predictor.sample(image) for image in images],
        "network": lambda: [predictor.of_samples([sample]) for sample in samples],
        "draw": lambda: [draw_poses(*pair, skeleton) for pair in zip(images, poses, strict=True)],
        "write": write,
    }
