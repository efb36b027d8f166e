"""Writes small images and files of labelme, which tests of importers read: :func:`write_labelme`."""

import json
from pathlib import Path
from typing import Any

import cv2
import numpy as np


def write_image(file: Path, width: int = 40, height: int = 30) -> None:
    """An image of two colors."""
    image = np.zeros((height, width, 3), np.uint8)
    image[: height // 2] = 200
    file.parent.mkdir(parents=True, exist_ok=True)
    assert cv2.imwrite(str(file), image)


def point(label: str, x: float, y: float, group: int | None = None, **more: Any) -> dict[str, Any]:
    """A keypoint of labelme."""
    return {"label": label, "points": [[x, y]], "group_id": group, "shape_type": "point", "flags": {}, **more}


def write_labelme(folder: Path, name: str, shapes: list[dict[str, Any]], **more: Any) -> Path:
    """An image of 40 x 30 pixels and its file of labelme."""
    write_image(folder / f"{name}.png")
    content = {"shapes": shapes, "imagePath": f"{name}.png", "imageHeight": 30, "imageWidth": 40, **more}
    file = folder / f"{name}.json"
    file.write_text(json.dumps(content))
    return file
