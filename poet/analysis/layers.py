"""Plots the AP after each decoder layer of POET (Figure 9), from one pass over a dataset."""

from pathlib import Path

import torch
from detectron2.config import CfgNode
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator
from tqdm import tqdm

from poet.poet import POET
from posecore.config.options import choice
from posecore.data import build_test_loader, register_definitions
from posecore.evaluation import COCOPoseEvaluator
from posecore.evaluation.coco import BACKENDS
from posecore.visualization.images import write_figure

METRICS = ("AP", "AP50", "AP75")


@torch.no_grad()
def evaluate_layers(cfg: CfgNode, model: POET) -> list[dict[str, float]]:
    """The metrics of each decoder layer's poses on the first of DATASETS.TEST, by name.

    Args:
        cfg, model: see :func:`posecore.inference.load_model.load_model`.
    """
    name, backend = cfg.DATASETS.TEST[0], choice(cfg, "TEST.COCO_BACKEND", BACKENDS)
    register_definitions(cfg.DATASETS.DEFINITIONS)
    evaluators = [
        COCOPoseEvaluator(name, model.skeleton, backend=backend, distributed=False)
        for _ in model.transformer.decoder
    ]
    for inputs in tqdm(build_test_loader(cfg, name), unit="image"):
        images = model.preprocess(inputs)
        predictions = model.find(images).predictions
        for layer, evaluator in enumerate(evaluators):
            poses = model.decode(predictions, images.image_sizes, layer)
            results = model.postprocess(poses, images, inputs)
            evaluator.process(inputs, [{"instances": result} for result in results])
    return [evaluator.evaluate()["keypoints"] for evaluator in evaluators]


def plot_layers(metrics: list[dict[str, float]], file: Path) -> str:
    """Writes the plot of the metrics over the layers, which are counted from 1.

    Args:
        metrics: of :func:`evaluate_layers`.
        file: the image to write.

    Returns:
        The metrics as a table.
    """
    numbers = range(1, len(metrics) + 1)
    figure = Figure(figsize=(6, 4), layout="constrained")
    axes = figure.subplots()
    for name in METRICS:
        axes.plot(numbers, [values[name] for values in metrics], marker="o", label=name)
    axes.set(xlabel="decoder layer", ylabel="percent", ylim=(0, 102))
    axes.xaxis.set_major_locator(MaxNLocator(integer=True))
    axes.grid(alpha=0.3)
    axes.legend()
    write_figure(file, figure)
    lines = [f"{'layer':6}" + "".join(f"{name:>8}" for name in METRICS)]
    for number, values in zip(numbers, metrics, strict=True):
        lines.append(f"{number:<6}" + "".join(f"{values[name]:8.1f}" for name in METRICS))
    return "\n".join(lines)
