"""The centers that POET learns (Figure 7): on an image with the offsets, and beside the ground-truth ones.

Left: the image with the most persons, predicted centers in red and offsets in blue. Right: predicted minus
true center of every person, in diagonals of its box; y grows downwards.
"""

import argparse

import numpy as np
import torch
from matplotlib.figure import Figure

from analyses.models import Matched, add_dataset_arguments, load_poet, matched_persons

# Beyond so many diagonals of a box nothing is shown.
LIMIT = 1.0


def add_arguments(parser: argparse.ArgumentParser) -> None:
    add_dataset_arguments(parser)


def run(options: argparse.Namespace) -> None:
    cfg, model = load_poet(options)
    shown: Matched | None = None
    shifts = []
    for matched in matched_persons(cfg, model, options.images):
        shifts.append(center_shifts(matched))
        if shown is None or len(matched.scores) > len(shown.scores):
            shown = matched
    every = torch.cat(shifts).numpy() if shifts else np.zeros((0, 2))
    if shown is None or not len(every):
        raise ValueError(f"DATASETS.TEST {cfg.DATASETS.TEST[0]}: there is nobody with a visible keypoint")
    figure = Figure(figsize=(11, 5), layout="constrained")
    left, right = figure.subplots(1, 2)
    image = shown.image.permute(1, 2, 0).numpy()
    left.imshow(image if cfg.INPUT.FORMAT == "RGB" else image[:, :, ::-1])
    left.set_axis_off()
    for center, points in zip(shown.poses.centers, shown.poses.keypoints, strict=True):
        x, y = (center * shown.size).tolist()
        ends = (points * shown.size).numpy()
        left.plot(*np.stack([np.tile([x, y], (len(ends), 1)), ends]).transpose(2, 0, 1), "b-", linewidth=0.8)
        left.plot(x, y, "ro", markersize=4)
    right.hexbin(*every.T, gridsize=40, extent=(-LIMIT, LIMIT, -LIMIT, LIMIT), cmap="Blues", mincnt=1)
    right.axhline(0, color="gray", linewidth=0.8)
    right.axvline(0, color="gray", linewidth=0.8)
    right.set(
        xlim=(-LIMIT, LIMIT),
        ylim=(LIMIT, -LIMIT),
        aspect="equal",
        xlabel="x, box diagonals",
        ylabel="y, box diagonals",
        title="Predicted minus true center",
    )
    figure.savefig(options.output, dpi=110)
    upper_left = (every < 0).all(axis=1).mean()
    x, y = np.median(every, axis=0)
    print(f"{len(every)} persons, median shift ({x:+.3f}, {y:+.3f}), {upper_left:.0%} up and left")
    print(options.output)


def center_shifts(matched: Matched) -> torch.Tensor:
    """(M', 2) predicted minus true centers in diagonals of boxes, of persons with a visible keypoint."""
    boxes = matched.ground_truth.gt_boxes.tensor
    diagonals = (boxes[:, 2:] - boxes[:, :2]).norm(dim=1).clamp(min=1)
    shifts = (matched.poses.centers - matched.centers) * matched.size / diagonals[:, None]
    return shifts[matched.posed]
