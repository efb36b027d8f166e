"""A model in OpenVINO is divided in front of its last convolutions, and the rest keeps float32."""

from pathlib import Path

import numpy as np
import pytest

from posecore.inference.half_network import CONVOLUTIONS, divide
from posecore.inference.onnx import OPENVINO_PRECISIONS, OpenVINOSession

onnx = pytest.importorskip("onnx", reason="exported models need requirements/export.txt")
openvino = pytest.importorskip("openvino", reason="this runtime needs requirements/openvino.txt")

# Two towers on one convolution; a position far from 0 is added behind one of them.
TWO_TOWERS = """<ir_version: 8, opset_import: ["" : 18]>
towers (float[N, 3, H, W] images) => (float[N, 2, H, W] boxes, float[N, 2, H, W] scores, int64[1] width)
<float[3, 3, 1, 1] stem, float[2, 3, 1, 1] left, float[2, 3, 1, 1] right>
{
    low = Conv (images, stem)
    features = Relu (low)
    offsets = Conv (features, left)
    far = Constant <value_float: float = 1000.0> ()
    boxes = Add (offsets, far)
    scores = Conv (features, right)
    width = Shape <start: int = 3, end: int = 4> (features)
}"""
ONE = """<ir_version: 8, opset_import: ["" : 18]>
one (float[N, 3, H, W] images) => (float[N, 3, H, W] maps)
<float[3, 3, 1, 1] stem>
{
    maps = Conv (images, stem)
}"""


def write(text: str, file: Path) -> Path:
    """The model with random weights, as a file."""
    model = onnx.parser.parse_model(text)
    rng = np.random.default_rng(0)
    for weights in model.graph.value_info:
        shape = [dimension.dim_value for dimension in weights.type.tensor_type.shape.dim]
        values = rng.normal(size=shape).astype(np.float32)
        model.graph.initializer.append(onnx.numpy_helper.from_array(values, weights.name))
    onnx.save(model, str(file))
    return file


def convolutions(model: object) -> int:
    return sum(node.get_type_name() in CONVOLUTIONS for node in model.get_ops())


def run(model: object, inputs: dict) -> list[np.ndarray]:
    request = openvino.Core().compile_model(model, "CPU", {"INFERENCE_PRECISION_HINT": "f32"})
    return [np.array(value) for value in request(inputs).values()]


def test_the_parts_compute_what_the_model_computes(tmp_path: Path) -> None:
    model = openvino.Core().read_model(str(write(TWO_TOWERS, tmp_path / "towers.onnx")))
    parts = divide(model)
    assert [convolutions(part) for part in (model, parts.network, parts.rest)] == [3, 1, 2]
    image = np.random.default_rng(1).normal(size=(2, 3, 5, 7)).astype(np.float32)
    maps = run(parts.network, {0: image})
    assert [value.shape for value in maps] == [(2, 3, 5, 7)]
    found = run(parts.rest, {0: image, 1: maps[0]})
    for value, expected in zip(found, run(model, {0: image}), strict=True):
        np.testing.assert_array_equal(value, expected)


def test_a_model_without_two_convolutions_stays_whole(tmp_path: Path) -> None:
    assert divide(openvino.Core().read_model(str(write(ONE, tmp_path / "one.onnx")))) is None


@pytest.mark.parametrize("precision", ["bfloat16", "float16"])
def test_positions_keep_float32(precision: str, tmp_path: Path) -> None:
    capability = OPENVINO_PRECISIONS[precision].capability
    if capability not in openvino.Core().get_property("CPU", "OPTIMIZATION_CAPABILITIES"):
        pytest.skip(f"this processor does not compute in {precision}")
    file = write(TWO_TOWERS, tmp_path / "towers.onnx")
    inputs = {"images": np.random.default_rng(1).normal(size=(1, 3, 16, 16)).astype(np.float32)}
    whole = OpenVINOSession(file, 1).run(inputs)
    half = OpenVINOSession(file, 1, precision).run(inputs)
    assert half.keys() == whole.keys() == {"boxes", "scores", "width"}
    assert half["width"].tolist() == [16]
    far = np.abs(half["boxes"] - whole["boxes"]).max()
    # Positions near 1000 have steps of half a pixel in float16, and of four pixels in bfloat16.
    assert 0 < far < 0.1
