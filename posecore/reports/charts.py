"""Charts as SVG, drawn for both color schemes: :func:`line_chart`, :func:`column_chart` and others.

Colors come from classes of the page's style. Sizes are in units of the drawing, which the page scales.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from markupsafe import Markup

_WIDTH, _HEIGHT = 440.0, 300.0
_LEFT, _RIGHT, _TOP, _BOTTOM = 44.0, 12.0, 12.0, 40.0


@dataclass(frozen=True)
class Line:
    """A curve of a chart.

    Attributes:
        name: shown where the pointer rests on the curve.
        values: (A,), y at each x; not finite where there is none.
        style: its class, such as "mean", "other" or "one".
        index: number by which the page's script finds it; None for none.
    """

    name: str
    values: np.ndarray
    style: str
    index: int | None = None


@dataclass(frozen=True)
class Column:
    """A column of a chart.

    Attributes:
        name: below the column; may be empty.
        value: its height.
        title: shown where the pointer rests on it.
        low: lower end of the range that a click on it filters by; None for no click.
        high: upper end.
    """

    name: str
    value: float
    title: str
    low: float | None = None
    high: float | None = None


def line_chart(
    x: np.ndarray, lines: Sequence[Line], *, title: str, x_label: str, y_label: str, y_max: float = 100.0
) -> Markup:
    """Curves over an axis from 0 to the last x, and from 0 to ``y_max``."""
    place_x, place_y = _scale_x(0.0, float(x[-1])), _scale_y(y_max)
    parts = [_axes(_ticks(float(x[-1])), _ticks(y_max), place_x, place_y, x_label, y_label)]
    for line in lines:
        points = [
            f"{place_x(a):.1f},{place_y(b):.1f}"
            for a, b in zip(x, line.values, strict=True)
            if np.isfinite(b)
        ]
        index = Markup("") if line.index is None else Markup(' data-line="{}"').format(line.index)
        parts.append(
            Markup('<polyline class="line {}"{} points="{}"><title>{}</title></polyline>').format(
                line.style, index, " ".join(points), line.name
            )
        )
    return _svg(title, parts)


def column_chart(
    columns: Sequence[Column],
    *,
    title: str,
    x_label: str,
    y_label: str,
    y_max: float | None = None,
    diagonal: bool = False,
    points: Sequence[tuple[float, float]] = (),
) -> Markup:
    """Columns side by side.

    Args:
        columns: from left to right.
        title: for readers who do not see the chart.
        x_label: below the axis.
        y_label: beside the axis.
        y_max: upper end of the axis; by default that of the highest column.
        diagonal: whether a line goes from the lower left to the upper right corner.
        points: of a second curve, x in shares of the axis and y as heights.
    """
    highest = max([column.value for column in columns], default=0.0)
    top = y_max if y_max is not None else (highest * 1.05 or 1.0)
    place_x, place_y = _scale_x(0.0, max(len(columns), 1)), _scale_y(top)
    width = place_x(1) - place_x(0)
    parts = [_axes([], _ticks(top), place_x, place_y, x_label, y_label)]
    for index, column in enumerate(columns):
        left, upper = place_x(index), place_y(column.value)
        shape = Markup(
            '<rect class="column" x="{:.1f}" y="{:.1f}" width="{:.1f}" height="{:.1f}" rx="2"/>'
        ).format(left + 1.5, upper, max(width - 3, 1), max(place_y(0) - upper, 0))
        hit = Markup('<rect class="hit" x="{:.1f}" y="{:.1f}" width="{:.1f}" height="{:.1f}"/>').format(
            left, _TOP, width, place_y(0) - _TOP
        )
        click = Markup("")
        if column.low is not None:
            click = Markup(' role="button" tabindex="0" data-low="{}" data-high="{}"').format(
                column.low, column.high
            )
        name = Markup('<text class="tick" x="{:.1f}" y="{:.1f}" text-anchor="middle">{}</text>').format(
            left + width / 2, place_y(0) + 15, column.name
        )
        parts.append(
            Markup('<g{} aria-label="{}">{}{}<title>{}</title></g>{}').format(
                click, column.title, shape, hit, column.title, name
            )
        )
    if diagonal:
        parts.append(
            Markup('<line class="diagonal" x1="{:.1f}" y1="{:.1f}" x2="{:.1f}" y2="{:.1f}"/>').format(
                place_x(0), place_y(0), place_x(len(columns)), place_y(top)
            )
        )
    if points:
        path = " ".join(f"{place_x(a * len(columns)):.1f},{place_y(b):.1f}" for a, b in points)
        parts.append(Markup('<polyline class="line other" points="{}"/>').format(path))
    return _svg(title, parts)


def pose_chart(
    points: np.ndarray,
    spreads: np.ndarray,
    names: Sequence[str],
    sides: Sequence[str],
    limbs: Sequence[tuple[int, int]],
) -> Markup:
    """A mean pose in a square, with an ellipse of one standard deviation around each keypoint.

    Args:
        points: (K, 2) in the square from 0 to 1; not finite where nobody has the keypoint.
        spreads: (K, 2), standard deviations.
        names: K names, for titles.
        sides: K of "left", "right" and "middle".
        limbs: pairs of indices.
    """
    size = 320.0
    parts = [Markup('<rect class="frame" x="0.5" y="0.5" width="{0}" height="{0}" rx="8"/>').format(size - 1)]
    for a, b in limbs:
        if np.isfinite(points[[a, b]]).all():
            (x1, y1), (x2, y2) = points[a] * size, points[b] * size
            parts.append(
                Markup('<line class="limb" x1="{:.1f}" y1="{:.1f}" x2="{:.1f}" y2="{:.1f}"/>').format(
                    x1, y1, x2, y2
                )
            )
    for point, spread, name, side in zip(points, spreads, names, sides, strict=True):
        if np.isfinite(point).all():
            (x, y), (a, b) = point * size, np.maximum(spread * size, 2)
            parts.append(
                Markup(
                    '<g class="{0}"><title>{1}</title>'
                    '<ellipse cx="{2:.1f}" cy="{3:.1f}" rx="{4:.1f}" ry="{5:.1f}"/>'
                    '<circle cx="{2:.1f}" cy="{3:.1f}" r="3"/></g>'
                ).format(side, name, x, y, a, b)
            )
    title = "The mean pose, with one standard deviation of each keypoint"
    return Markup(
        '<svg class="pose" viewBox="0 0 {0:.0f} {0:.0f}" role="img" aria-label="{1}">{2}</svg>'
    ).format(size, title, Markup("").join(parts))


def histogram(values: np.ndarray, edges: np.ndarray, names: Mapping[int, str], what: str) -> list[Column]:
    """The columns of a histogram.

    Args:
        values: to be counted; those outside the edges count in the first or the last bin.
        edges: (B + 1,), rising.
        names: bin -> the text below it.
        what: for titles, "persons" or the like.
    """
    place = np.clip(np.searchsorted(edges, values, side="right") - 1, 0, len(edges) - 2)
    counts = np.bincount(place.astype(int), minlength=len(edges) - 1)
    return [
        Column(
            names.get(index, ""),
            float(count),
            f"{count} {what} from {edges[index]:g} to {edges[index + 1]:g}",
        )
        for index, count in enumerate(counts)
    ]


def _svg(title: str, parts: Sequence[Markup]) -> Markup:
    return Markup(
        '<svg class="chart" viewBox="0 0 {:.0f} {:.0f}" role="img" aria-label="{}"><title>{}</title>{}</svg>'
    ).format(_WIDTH, _HEIGHT, title, title, Markup("").join(parts))


def _axes(
    x_ticks: Sequence[float],
    y_ticks: Sequence[float],
    place_x: Callable[[float], float],
    place_y: Callable[[float], float],
    x_label: str,
    y_label: str,
) -> Markup:
    bottom, right = _HEIGHT - _BOTTOM, _WIDTH - _RIGHT
    parts = []
    for tick in y_ticks:
        y = place_y(tick)
        parts.append(
            Markup('<line class="gridline" x1="{}" y1="{:.1f}" x2="{}" y2="{:.1f}"/>').format(
                _LEFT, y, right, y
            )
            + Markup('<text class="tick" x="{}" y="{:.1f}" text-anchor="end">{:g}</text>').format(
                _LEFT - 6, y + 4, tick
            )
        )
    parts += [
        Markup('<text class="tick" x="{:.1f}" y="{}" text-anchor="middle">{:g}</text>').format(
            place_x(tick), bottom + 15, tick
        )
        for tick in x_ticks
    ]
    parts.append(
        Markup('<text class="label" x="{:.1f}" y="{}" text-anchor="middle">{}</text>').format(
            (_LEFT + right) / 2, _HEIGHT - 6, x_label
        )
    )
    parts.append(
        Markup(
            '<text class="label" transform="translate(12 {:.1f}) rotate(-90)" text-anchor="middle">{}</text>'
        ).format((_TOP + bottom) / 2, y_label)
    )
    return Markup("").join(parts)


def _scale_x(low: float, high: float) -> Callable[[float], float]:
    span = (_WIDTH - _LEFT - _RIGHT) / ((high - low) or 1.0)
    return lambda value: _LEFT + (float(value) - low) * span


def _scale_y(high: float) -> Callable[[float], float]:
    span = (_HEIGHT - _TOP - _BOTTOM) / (high or 1.0)
    return lambda value: _HEIGHT - _BOTTOM - float(value) * span


def _ticks(high: float) -> list[float]:
    """Round numbers from 0 to ``high``, four to eight of them."""
    rough = high / 5
    power = 10.0 ** np.floor(np.log10(rough))
    step = power * next(factor for factor in (1, 2, 2.5, 5, 10) if factor * power >= rough * 0.999)
    return [round(index * step, 10) for index in range(int(high / step + 1e-9) + 1)]
