"""AP after each decoder layer of POET (Figure 9), from one pass over the first of DATASETS.TEST."""

import argparse

import torch
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator
from tqdm import tqdm

from analyses.models import add_model_arguments, load_poet
from posecore.data import build_test_loader, register_definitions
from posecore.evaluation import COCOPoseEvaluator


def add_arguments(parser: argparse.ArgumentParser) -> None:
    add_model_arguments(parser)


@torch.no_grad()
def run(options: argparse.Namespace) -> None:
    cfg, model = load_poet(options)
    name, backend = cfg.DATASETS.TEST[0], cfg.TEST.COCO_BACKEND
    register_definitions(cfg.DATASETS.DEFINITIONS)
    layers = [
        COCOPoseEvaluator(name, model.skeleton, backend=backend, distributed=False)
        for _ in model.transformer.decoder
    ]
    for inputs in tqdm(build_test_loader(cfg, name), unit="image"):
        images = model.preprocess(inputs)
        predictions = model.find(images).predictions
        for layer, evaluator in enumerate(layers):
            poses = model.decode(predictions, images.image_sizes, layer)
            results = model.postprocess(poses, images, inputs)
            evaluator.process(inputs, [{"instances": result} for result in results])
    metrics = [evaluator.evaluate()["keypoints"] for evaluator in layers]
    numbers = range(1, len(layers) + 1)
    figure = Figure(figsize=(6, 4), layout="constrained")
    axes = figure.subplots()
    for kind in ("AP", "AP50", "AP75"):
        axes.plot(numbers, [layer[kind] for layer in metrics], marker="o", label=kind)
    axes.set(xlabel="decoder layer", ylabel="percent", ylim=(0, 102))
    axes.xaxis.set_major_locator(MaxNLocator(integer=True))
    axes.grid(alpha=0.3)
    axes.legend()
    figure.savefig(options.output, dpi=110)
    print(f"{'layer':6}{'AP':>8}{'AP50':>8}{'AP75':>8}")
    for number, layer in zip(numbers, metrics, strict=True):
        print(f"{number:<6}{layer['AP']:8.1f}{layer['AP50']:8.1f}{layer['AP75']:8.1f}")
    print(options.output)
