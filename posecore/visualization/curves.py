"""Plots of a training: :func:`plot_training`."""

import json
import re
from pathlib import Path

from matplotlib.figure import Figure
from matplotlib.ticker import LogLocator, NullFormatter


def plot_training(metrics_json: str | Path, out_png: str | Path) -> None:
    """Plots the losses and the AP of a training over its iterations.

    Losses on test sets (TEST.LOSSES) are dashed, in the color of the same training loss. Losses of a model's
    intermediate layers, whose names end in a number, are left out.

    Args:
        metrics_json: lines of JSON, as Detectron2's JSONWriter writes them.
        out_png: the image to write.

    Raises:
        ValueError: the file has no loss.
    """
    lines = [json.loads(line) for line in Path(metrics_json).read_text().splitlines() if line.strip()]
    names = sorted({name for line in lines for name in line})
    losses = [name for name in names if re.search(r"loss(?!.*_\d+$)", name.rpartition("/")[2])]
    trained = [name for name in losses if "/" not in name]
    if not trained:
        raise ValueError(f"{metrics_json} has no loss to plot")
    figure = Figure(figsize=(11, 4), layout="constrained")
    left, right = figure.subplots(1, 2)
    colors = {"total_loss": "black"}
    for name in trained:
        width = 2 if name == "total_loss" else 1
        [line] = left.plot(*_curve(lines, name), label=name, color=colors.get(name), linewidth=width)
        colors[name] = line.get_color()
    for name in sorted(set(losses) - set(trained)):
        color = colors.get(name.rpartition("/")[2])
        left.plot(*_curve(lines, name), color=color, linestyle="--", linewidth=1, marker=".")
    dashed = " (dashed: on test sets)" if len(losses) > len(trained) else ""
    left.set(xlabel="iteration", title=f"Losses{dashed}", yscale="log")
    left.yaxis.set_major_locator(LogLocator(subs=(1, 2, 5)))
    left.yaxis.set_major_formatter("{x:g}")
    left.yaxis.set_minor_formatter(NullFormatter())
    for name in names:
        if name.endswith(("/AP", "/AP50", "/AP75")):
            right.plot(*_curve(lines, name), marker="o", label=name)
    right.set(xlabel="iteration", ylabel="percent", ylim=(0, 102), title="Average precision")
    for axes in (left, right):
        axes.grid(alpha=0.3)
        axes.set_xlim(left=0)
        if axes.lines:
            axes.legend(fontsize=8, framealpha=0.5)
    figure.savefig(out_png, dpi=110)


def _curve(lines: list[dict], name: str) -> tuple[list[int], list[float]]:
    points = [(line["iteration"], line[name]) for line in lines if name in line]
    return [x for x, _ in points], [y for _, y in points]
