"""Where POET looks (Figure 5): the encoder from chosen points, the decoder for each person that is found.

Maps are of the last layers, averaged over heads.
"""

import argparse
from pathlib import Path

import cv2
import numpy as np
import torch

from analyses.models import add_model_arguments, load_poet
from posecore.data.samples import build_samples
from posecore.inference.video import read_images
from posecore.visualization.poses import draw_heat, grid


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--input", type=Path, required=True, help="an image")
    parser.add_argument(
        "--cells",
        type=float,
        nargs="+",
        default=[],
        metavar="X Y",
        help="points of the image, pixels, that the encoder looks from",
    )
    parser.add_argument("--threshold", type=float, default=0.5, help="least score of a person (default 0.5)")
    parser.add_argument("--columns", type=int, default=3, help="maps in a row (default 3)")
    add_model_arguments(parser)


@torch.no_grad()
def run(options: argparse.Namespace) -> None:
    """
    Raises:
        ValueError: a point lacks y, or lies beside the image.
    """
    if len(options.cells) % 2:
        raise ValueError("--cells needs x and y of every point")
    points = np.array(options.cells).reshape(-1, 2)
    cfg, model = load_poet(options)
    image = next(iter(read_images(str(options.input)))).image
    height, width = image.shape[:2]
    if not ((points >= 0) & (points < (width, height))).all():
        raise ValueError(f"--cells must lie in the image, which is {width} x {height}")
    images = model.preprocess([build_samples(cfg).sample(image)])
    found = model.find(images, need_weights=True)
    rows, columns = found.size
    encoder, decoder = found.attention.encoder[0], found.attention.decoder[0]

    drawings, captions = [], []
    for x, y in points:
        cell = int(y * rows / height) * columns + int(x * columns / width)
        heat = encoder[cell].view(rows, columns).cpu().numpy()
        drawings.append(draw_heat(image, heat, mark=(x, y)))
        captions.append(f"from ({x:.0f}, {y:.0f})")
    result = model.decode(found.predictions, images.image_sizes)[0]
    for query in (result.scores >= options.threshold).nonzero()[:, 0].tolist():
        drawings.append(draw_heat(image, decoder[query].view(rows, columns).cpu().numpy()))
        captions.append(f"query {query}, score {result.scores[query]:.2f}")
    if not drawings:
        raise ValueError(f"nobody is found with a score of {options.threshold}, and no --cells are given")
    write(grid(drawings, options.columns, captions), options.output)


def write(image: np.ndarray, file: Path) -> None:
    """An (H, W, 3) RGB image."""
    cv2.imwrite(str(file), image[:, :, ::-1])
    print(file)
