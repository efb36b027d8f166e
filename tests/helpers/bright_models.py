"""Hand-made ONNX models with descriptions: they find the brightest point of an image, or of a crop.

Written in ONNX's text form, so that no test has to trace a model.
"""

import json
from pathlib import Path
from typing import Any

SKELETON = {
    "name": "stick",
    "keypoints": ["top", "left_end"],
    "limbs": [["top", "left_end"]],
    "flip_pairs": [],
    "sigmas": [0.1, 0.1],
}

# The brightest point as (N, 3): x, y and its brightness from 0 to 1. N images of W columns.
_POINT = """
    zero = Constant <value_int: int = 0> ()
    one = Constant <value_ints: ints = [1]> ()
    flat = Constant <value_ints: ints = [0, -1]> ()
    red = Gather <axis: int = 1> (INPUT, zero)
    bright = Cast <to: int = 1> (red)
    cells = Reshape (bright, flat)
    place = ArgMax <axis: int = 1, keepdims: int = 1> (cells)
    most = ReduceMax <keepdims: int = 1> (cells, one)
    white = Constant <value_float: float = 255.0> ()
    score = Div (most, white)
    width = Shape <start: int = 3, end: int = 4> (INPUT)
    column = Mod (place, width)
    row = Div (place, width)
    half = Constant <value_float: float = 0.5> ()
    fx = Cast <to: int = 1> (column)
    fy = Cast <to: int = 1> (row)
    x = Add (fx, half)
    y = Add (fy, half)
    point = Concat <axis: int = 1> (x, y, score)
    down = Constant <value_floats: floats = [0.0, 4.0, 0.0]> ()
    lower = Add (point, down)
    first = Unsqueeze (point, one)
    second = Unsqueeze (lower, one)
    pair = Concat <axis: int = 1> (first, second)
"""

_IMAGES = (
    """<ir_version: 8, opset_import: ["" : 18]>
bright (uint8[N, 3, H, W] images, int64[N, 2] sizes) =>
    (float[N, 1, 4] boxes, float[N, 1] scores, int64[N, 1] classes, float[N, 1, 2, 3] keypoints,
     bool[N, 1] valid)
{"""
    + _POINT.replace("INPUT", "images")
    + """
    scores = Identity (score)
    keypoints = Unsqueeze (pair, one)
    six = Constant <value_float: float = 6.0> ()
    left = Sub (x, six)
    upper = Sub (y, six)
    right = Add (x, six)
    under = Add (y, six)
    corners = Concat <axis: int = 1> (left, upper, right, under)
    boxes = Unsqueeze (corners, one)
    classes = Mul (place, zero)
    dark = Constant <value_float: float = 0.2> ()
    valid = Greater (score, dark)
}"""
)

_CROPS = (
    """<ir_version: 8, opset_import: ["" : 18]>
crop (uint8[N, 3, 32, 24] crops, float[N] box_scores) => (float[N, 2, 3] keypoints, float[N] scores)
{"""
    + _POINT.replace("INPUT", "crops")
    + """
    keypoints = Identity (pair)
    scores = Identity (box_scores)
}"""
)


def write_image_model(file: Path) -> Path:
    """Writes a model that finds one person at the brightest point of an image, if it is bright enough."""
    inputs = {"min_size": 0, "max_size": 1000, "rounding": "nearest", "channels": "RGB", "divisibility": 8}
    return _write(file, _IMAGES, {"kind": "images", **inputs})


def write_crop_model(file: Path) -> Path:
    """Writes a model that finds the brightest point in crops of 32 x 24 pixels."""
    inputs = {"size": [32, 24], "padding": 1.25, "first_pixel": 0.5, "channels": "RGB"}
    return _write(file, _CROPS, {"kind": "crops", **inputs, "min_score": 0.0, "oks_nms_thresh": 0.9})


def _write(file: Path, text: str, inputs: dict[str, Any]) -> Path:
    import onnx

    model = onnx.parser.parse_model(text)
    onnx.checker.check_model(model)
    onnx.save(model, str(file))
    description = {
        "version": 1,
        "method": "Bright",
        "outputs": "poses",
        "skeleton": SKELETON,
        "input": inputs,
    }
    file.with_name(f"{file.name}.json").write_text(json.dumps(description))
    return file
