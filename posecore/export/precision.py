"""The float16 and int8 forms of an exported model: :func:`to_float16` and :func:`to_int8`.

In both, the convolutions of the network are converted. Selection, suppression, positions and scores stay in
float32, because half precision has steps of half a pixel above 512 pixels, and inputs and outputs are the
same as those of the float32 model.
"""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Literal

import numpy as np

from posecore.export.quiet import quiet

Precision = Literal["float32", "float16", "int8"]
PRECISIONS: dict[str, Precision] = {"float32": "float32", "float16": "float16", "int8": "int8"}

# The operators that are converted. The convolutions do nearly all of the computing.
HALF_OPERATORS = ("Conv", "ConvTranspose", "Relu", "MaxPool", "BatchNormalization")
INTEGER_OPERATORS = ("Conv",)


def to_float16(source: Path, target: Path) -> None:
    """Writes the form whose network computes in float16; its weights take half the space.

    Args:
        source: the float32 model.
        target: to be written.
    """
    import onnx
    from onnxconverter_common import float16

    model = onnx.load(str(source))
    kept = [node.name for node in model.graph.node if node.op_type not in HALF_OPERATORS]
    with quiet():
        half = float16.convert_float_to_float16(model, keep_io_types=True, node_block_list=kept)
    onnx.save(half, str(target))


def to_int8(
    source: Path, target: Path, batches: Sequence[Mapping[str, np.ndarray]], excluded: Sequence[str]
) -> None:
    """Writes the form whose convolutions compute in int8, by ONNX Runtime's static quantization.

    The ranges of the maps are the least and the greatest values that occur on the given inputs.

    Args:
        source: the float32 model.
        target: to be written.
        batches: inputs by name, on which the ranges are measured.
        excluded: parts of names of convolutions that stay in float32.
    """
    import onnxruntime
    from onnxruntime.quantization import CalibrationDataReader, QuantFormat, QuantType, quantize_static
    from onnxruntime.quantization.shape_inference import quant_pre_process

    class Batches(CalibrationDataReader):
        """The inputs, one after another."""

        def __init__(self) -> None:
            self.rest = iter(batches)

        def get_next(self) -> dict[str, np.ndarray] | None:
            following = next(self.rest, None)
            return None if following is None else dict(following)

    onnxruntime.set_default_logger_severity(3)  # errors alone
    prepared = target.with_name(f"{target.name}.prepared")
    with quiet():
        # Joins BatchNorms with their convolutions. Symbolic sizes are left alone.
        quant_pre_process(str(source), str(prepared), skip_symbolic_shape=True)
        quantize_static(
            str(prepared),
            str(target),
            Batches(),
            quant_format=QuantFormat.QDQ,
            op_types_to_quantize=list(INTEGER_OPERATORS),
            per_channel=True,
            activation_type=QuantType.QUInt8,
            weight_type=QuantType.QInt8,
            nodes_to_exclude=excluded_nodes(prepared, excluded),
        )
    prepared.unlink()


def excluded_nodes(file: Path, parts: Sequence[str]) -> list[str]:
    """The names of the convolutions that stay in float32.

    These are the first one, those in groups, such as the depthwise ones of small backbones, whose few weights
    of a channel bear rounding badly, and those whose weights have a name with one of these parts.
    """
    import onnx

    nodes = onnx.load(str(file), load_external_data=False).graph.node
    convolutions = [node for node in nodes if node.op_type == "Conv"]
    return [
        node.name
        for number, node in enumerate(convolutions)
        if number == 0
        or any(attribute.name == "group" and attribute.i > 1 for attribute in node.attribute)
        or any(part in node.input[1] for part in parts)
    ]
