"""Predicted visibilities beside COCO's flags (POET, Figure 8): not labeled, hidden, visible."""

import argparse

import torch
from matplotlib.figure import Figure

from analyses.models import add_dataset_arguments, load_poet, matched_persons

FLAGS = ("not labeled", "hidden", "visible")


def add_arguments(parser: argparse.ArgumentParser) -> None:
    add_dataset_arguments(parser)


def run(options: argparse.Namespace) -> None:
    cfg, model = load_poet(options)
    predicted, flags = [], []
    for matched in matched_persons(cfg, model, options.images):
        if len(matched.scores):
            predicted.append(matched.poses.visibility)
            flags.append(matched.ground_truth.gt_keypoints.tensor[..., 2])
    if not predicted:
        raise ValueError(f"DATASETS.TEST {cfg.DATASETS.TEST[0]}: there is nobody")
    probability, flag = torch.cat(predicted).flatten(), torch.cat(flags).flatten()
    parts = {name: probability[flag == value] for value, name in enumerate(FLAGS)}
    parts = {name: values for name, values in parts.items() if len(values) > 1}
    figure = Figure(figsize=(6, 4), layout="constrained")
    axes = figure.subplots()
    axes.violinplot([values.numpy() for values in parts.values()], showmedians=True)
    axes.set_xticks(range(1, len(parts) + 1), [f"{name}\n{len(values)}" for name, values in parts.items()])
    axes.set(ylabel="predicted visibility", ylim=(0, 1))
    figure.savefig(options.output, dpi=110)
    for name, values in parts.items():
        print(f"{name:14}{len(values):8} keypoints, median {values.median():.3f}")
    print(options.output)
