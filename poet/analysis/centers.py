"""Plots the centers that POET learns (Figure 7), beside those of the ground truth (:func:`plot_centers`).

Left: the image with the most persons, predicted centers in red and offsets in blue. Right: predicted minus
ground-truth center of every person, in diagonals of its box; y grows downwards.
"""

from pathlib import Path

import numpy as np
import torch
from detectron2.config import CfgNode
from matplotlib.figure import Figure
from torch import Tensor

from poet.analysis.matched import MatchedPersons, matched_persons
from poet.poet import POET
from posecore.visualization.images import as_rgb, write_figure

# Shifts of more diagonals are not shown.
LIMIT = 1.0


def plot_centers(cfg: CfgNode, model: POET, file: Path, *, num_images: int | None = None) -> str:
    """Writes the plot for the first of DATASETS.TEST.

    Args:
        cfg, model, num_images: see :func:`~poet.analysis.matched.matched_persons`.
        file: the image to write.

    Returns:
        A line with the number of persons and their median shift.

    Raises:
        ValueError: nobody has a visible keypoint.
    """
    shown: MatchedPersons | None = None
    shifts = []
    for matched in matched_persons(cfg, model, num_images):
        shifts.append(center_shifts(matched))
        if shown is None or len(matched.scores) > len(shown.scores):
            shown = matched
    every = torch.cat(shifts).numpy() if shifts else np.zeros((0, 2))
    if shown is None or not len(every):
        raise ValueError(f"DATASETS.TEST {cfg.DATASETS.TEST[0]}: there is nobody with a visible keypoint")
    figure = Figure(figsize=(11, 5), layout="constrained")
    left, right = figure.subplots(1, 2)
    left.imshow(as_rgb(shown.image, cfg.INPUT.FORMAT))
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
        title="Predicted minus ground-truth center",
    )
    write_figure(file, figure)
    upper_left = (every < 0).all(axis=1).mean()
    x, y = np.median(every, axis=0)
    return f"{len(every)} persons, median shift ({x:+.3f}, {y:+.3f}), {upper_left:.0%} up and left"


def center_shifts(matched: MatchedPersons) -> Tensor:
    """Predicted minus ground-truth centers in diagonals of boxes, (M', 2); of those that have a center."""
    boxes = matched.ground_truth.gt_boxes.tensor
    diagonals = (boxes[:, 2:] - boxes[:, :2]).norm(dim=1).clamp(min=1)
    shifts = (matched.poses.centers - matched.centers) * matched.size / diagonals[:, None]
    return shifts[matched.any_visible]
