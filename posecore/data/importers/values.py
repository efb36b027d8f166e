"""Reads the numbers of labels, and refuses what is none: :func:`number`."""

from typing import Any

from posecore.data.formats.document import MAX_COORDINATE, short

# x, y, width and height.
Box = tuple[float, float, float, float]


def number(value: Any, where: str) -> float:
    """A finite number of moderate size, given as a number or as text.

    Raises:
        ValueError: it is none; the message begins with ``where``.
    """
    try:
        if isinstance(value, bool):
            raise ValueError
        result = float(value)
    except (TypeError, ValueError, OverflowError):
        raise ValueError(f"{where} must be a number, not {short(value)}") from None
    if not abs(result) <= MAX_COORDINATE:
        raise ValueError(f"{where} must be a finite number up to {MAX_COORDINATE}, not {short(value)}")
    return result


def whole(value: Any, where: str) -> int:
    """A whole number of moderate size, given as a number or as text.

    Raises:
        ValueError: it is none; the message begins with ``where``.
    """
    result = number(value, where)
    if not result.is_integer():
        raise ValueError(f"{where} must be a whole number, not {short(value)}")
    return int(result)


def pixels(value: Any, where: str) -> int:
    """The width or the height of an image.

    Raises:
        ValueError: it is no positive whole number; the message begins with ``where``.
    """
    result = number(value, where)
    if result < 1 or result != int(result):
        raise ValueError(f"{where} must be a positive whole number of pixels, not {short(value)}")
    return int(result)


def box_of_corners(x0: float, y0: float, x1: float, y1: float) -> Box:
    """x, y, width and height of the rectangle between two opposite corners."""
    return min(x0, x1), min(y0, y1), abs(x1 - x0), abs(y1 - y0)
