"""Plots predicted visibilities beside COCO's flags (Figure 8): not labeled, hidden, visible."""

from pathlib import Path

import torch
from detectron2.config import CfgNode
from matplotlib.figure import Figure

from poet.analysis.matched import matched_persons
from poet.poet import POET
from posecore.visualization.images import write_figure

# By COCO's v.
FLAGS = ("not labeled", "hidden", "visible")


def plot_visibility(cfg: CfgNode, model: POET, file: Path, *, num_images: int | None = None) -> str:
    """Writes the distribution of predicted visibilities for each flag, on the first of DATASETS.TEST.

    Args:
        cfg, model, num_images: see :func:`~poet.analysis.matched.matched_persons`.
        file: the image to write.

    Returns:
        A line for each flag, with the number of keypoints and the median.

    Raises:
        ValueError: the dataset has no persons.
    """
    predicted, flags = [], []
    for matched in matched_persons(cfg, model, num_images):
        if len(matched.scores):
            predicted.append(matched.poses.visibility)
            flags.append(matched.ground_truth.gt_keypoints.tensor[..., 2])
    if not predicted:
        raise ValueError(f"DATASETS.TEST {cfg.DATASETS.TEST[0]}: there is nobody")
    probability, flag = torch.cat(predicted).flatten(), torch.cat(flags).flatten()
    by_flag = {name: probability[flag == value] for value, name in enumerate(FLAGS)}
    by_flag = {name: values for name, values in by_flag.items() if len(values) > 1}
    figure = Figure(figsize=(6, 4), layout="constrained")
    axes = figure.subplots()
    axes.violinplot([values.numpy() for values in by_flag.values()], showmedians=True)
    axes.set_xticks(
        range(1, len(by_flag) + 1), [f"{name}\n{len(values)}" for name, values in by_flag.items()]
    )
    axes.set(ylabel="predicted visibility", ylim=(0, 1))
    write_figure(file, figure)
    return "\n".join(
        f"{name:14}{len(values):8} keypoints, median {values.median():.3f}"
        for name, values in by_flag.items()
    )
