"""Plots of a training: :func:`plot_training`."""

import json
import logging
import math
import re
from pathlib import Path
from typing import Any

from matplotlib.figure import Figure
from matplotlib.ticker import LogLocator, NullFormatter

from posecore.config.errors import some
from posecore.visualization.images import write_figure

logger = logging.getLogger(__name__)

# The ends of the names of metrics that are drawn: the main ones of every format.
_DRAWN = ("/AP", "/AP50", "/AP75", "pckh/Mean", "/PCK@0.2", "/PCK@0.2_better_sides")
# Values from here on are no measurement, and axes that reach them overflow.
_LARGEST = 1e30


def plot_training(metrics_json: str | Path, out_png: str | Path) -> None:
    """Plots the losses and the main metrics (AP, PCK, PCKh) of a training over its iterations.

    Losses on test sets (TEST.LOSSES) are dashed, in the color of the same training loss. Losses of a model's
    intermediate layers, whose names end in a number, are left out; so are lines that are no JSON, as a power
    cut leaves them, and values that are not finite
    or absurdly large.

    Args:
        metrics_json: lines of JSON, as Detectron2's JSONWriter writes them.
        out_png: the image to write.

    Raises:
        FileNotFoundError, ValueError: the file is missing, or has no loss; or the image cannot be written.
    """
    lines = read_metrics(metrics_json)
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
        if name.endswith(_DRAWN):
            right.plot(*_curve(lines, name), marker="o", label=name)
    right.set(xlabel="iteration", ylabel="percent", ylim=(0, 102), title="Metrics on the test sets")
    for axes in (left, right):
        axes.grid(alpha=0.3)
        axes.set_xlim(left=0)
        if axes.lines:
            axes.legend(fontsize=8, framealpha=0.5)
    write_figure(out_png, figure)


def read_metrics(metrics_json: str | Path) -> list[dict[str, Any]]:
    """The lines of a metrics.json; broken ones are left out and logged.

    Raises:
        FileNotFoundError: there is no such file.
        ValueError: it is no text file; the message names it.
    """
    path = Path(metrics_json)
    if not path.is_file():  # a pipe would be waited for, and a device may never end
        raise FileNotFoundError(
            f"{path} {'is no file' if path.exists() else 'does not exist'}: it must be the metrics.json of a "
            "training"
        )
    try:
        text = path.read_text(errors="replace")
    except OSError as error:
        raise ValueError(f"{path} cannot be read: {error.strerror}") from error
    lines, broken = [], []
    for number, line in enumerate(text.split("\n"), start=1):
        if not line.strip():
            continue
        try:
            content = json.loads(line)
        except (ValueError, RecursionError):
            content = None
        if isinstance(content, dict) and _is_finite(content.get("iteration")):
            lines.append(content)
        else:
            broken.append(number)
    if broken:
        logger.warning(
            "%s: %d lines are broken and left out, line %s",
            path,
            len(broken),
            some(broken),
        )
    return lines


def _curve(lines: list[dict[str, Any]], name: str) -> tuple[list[float], list[float]]:
    points = [(line["iteration"], line[name]) for line in lines if _is_finite(line.get(name))]
    return [x for x, _ in points], [y for _, y in points]


def _is_finite(value: Any) -> bool:
    """Whether a value is a number that can be drawn."""
    try:
        return type(value) in (int, float) and math.isfinite(value) and abs(value) < _LARGEST
    except OverflowError:  # an integer beyond the range of floats
        return False
