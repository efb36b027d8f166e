"""Writes the ONNX model of a graph: :func:`write_onnx`."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager, nullcontext
from pathlib import Path
from typing import Any

import torch

from posecore.export.graph import ExportGraph, ImageGraph
from posecore.export.quiet import quiet
from posecore.export.suppression import onnx_nms_rows, onnx_operators, onnx_soft_nms_rows
from posecore.layers.same_padding import fixed_same_padding

# The version of the operators. ONNX Runtime and OpenVINO read it, and torch's exporter writes no older one.
OPSET = 18


def onnx_remainder(values: Any, modulus: Any) -> Any:
    """The nodes of ``aten.remainder.Scalar``, whose own form takes no number that depends on a size."""
    op = onnx_operators()
    return op.Mod(values, op.CastLike(modulus, values))


# From operators of torch and of this project to the functions that write their nodes, where torch's exporter
# has none that work.
ONNX_FORMS: dict[Callable[..., Any], Callable[..., Any]] = {
    torch.ops.posecore.nms_rows.default: onnx_nms_rows,
    torch.ops.posecore.soft_nms_rows.default: onnx_soft_nms_rows,
    torch.ops.aten.remainder.Scalar: onnx_remainder,
}


@torch.no_grad()
def write_onnx(graph: ExportGraph, file: Path) -> None:
    """Exports a graph to an ONNX model whose dynamic sizes are those of the graph.

    Args:
        graph: of the model.
        file: to be written.

    Raises:
        ImportError: the extra "export" is not installed.
    """
    example = graph.example()
    names = list(graph.compute(*example))
    # The sides of images are multiples of the backbone's stride; those of crops are constants anyway.
    padding = fixed_same_padding(graph) if isinstance(graph, ImageGraph) else nullcontext()
    with _plain_attention(), padding, quiet():
        program = torch.export.export(
            graph,
            example,
            dynamic_shapes=(graph.dynamic_shapes(),),
            strict=False,
            prefer_deferred_runtime_asserts_over_guards=True,
        )
        exported = torch.onnx.export(
            program,
            example,
            input_names=list(graph.input_names),
            output_names=names,
            opset_version=OPSET,
            custom_translation_table=ONNX_FORMS,
            dynamo=True,
            verbose=False,
            # Runtimes simplify models when they load them; torch's own passes take minutes for Poseur.
            optimize=False,
        )
    assert exported is not None
    exported.save(str(file), external_data=False)


@contextmanager
def _plain_attention() -> Iterator[None]:
    """Attention by the operators of its formula: the fused forms of evaluation have no ONNX nodes."""
    enabled = torch.backends.mha.get_fastpath_enabled()
    torch.backends.mha.set_fastpath_enabled(False)
    try:
        yield
    finally:
        torch.backends.mha.set_fastpath_enabled(enabled)
