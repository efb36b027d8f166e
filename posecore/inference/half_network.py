"""Divides a model in OpenVINO into its network and the rest: :func:`divide`.

In half precision positions and scores lose what images resolve: bfloat16 has steps of two pixels above 256,
and neighboring cells of a heatmap become equal. So the network computes in half precision, and its last
convolutions, which predict, and everything behind them in float32.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

CONVOLUTIONS = ("Convolution", "GroupConvolution", "ConvolutionBackpropData")


@dataclass(frozen=True)
class DividedModel:
    """Two models that compute one after the other what one model did.

    Attributes:
        network: from the inputs of the model to the maps that the rest reads.
        rest: from the inputs of the model and these maps, in their order, to the outputs of the model.
    """

    network: Any
    rest: Any


def divide(model: Any) -> DividedModel | None:
    """The two parts of an ``openvino.Model``; None where no convolution follows another.

    Args:
        model: stays as it is.
    """
    import openvino
    from openvino import opset13

    before = _network_names(model)
    if not before:
        return None
    first, second = model.clone(), model.clone()
    maps = [output for output, _ in _border(first, before)]
    network = openvino.Model(maps, first.get_parameters(), "network")
    inputs = []
    for output, readers in list(_border(second, before)):
        parameter = opset13.parameter(output.get_partial_shape(), output.get_element_type())
        for reader in readers:
            reader.replace_source_output(parameter.output(0))
        inputs.append(parameter)
    rest = openvino.Model(second.get_results(), [*second.get_parameters(), *inputs], "rest")
    return DividedModel(network, rest)


def _network_names(model: Any) -> set[str]:
    """The names of the nodes that a convolution reads, directly or through others, constants left out.

    The last convolution of a path is not among them.
    """
    names: set[str] = set()
    for node in reversed(model.get_ordered_ops()):
        if node.get_type_name() in ("Constant", "Parameter"):
            continue
        readers = [reader.get_node() for output in node.outputs() for reader in output.get_target_inputs()]
        if any(
            reader.get_type_name() in CONVOLUTIONS or reader.get_friendly_name() in names
            for reader in readers
        ):
            names.add(node.get_friendly_name())
    if not any(
        node.get_type_name() in CONVOLUTIONS and node.get_friendly_name() in names for node in model.get_ops()
    ):
        return set()
    return names


def _border(model: Any, names: set[str]) -> Iterator[tuple[Any, list[Any]]]:
    """The outputs of the named nodes that others read, each with the inputs that read it."""
    for node in model.get_ordered_ops():
        if node.get_friendly_name() not in names:
            continue
        for output in node.outputs():
            readers = [
                reader
                for reader in output.get_target_inputs()
                if reader.get_node().get_friendly_name() not in names
            ]
            if readers:
                yield output, sorted(readers, key=lambda reader: reader.get_node().get_friendly_name())
