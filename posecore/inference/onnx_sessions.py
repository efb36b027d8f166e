"""Computes an ONNX model in ONNX Runtime or in OpenVINO: :class:`Session`."""

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal, Protocol

import numpy as np

from posecore.inference.half_network import divide

Backend = Literal["onnxruntime", "openvino"]
# The type that a runtime computes the float32 parts of a model in.
RuntimePrecision = Literal["float32", "bfloat16", "float16"]


class Session(Protocol):
    """A model in one of the runtimes."""

    def run(self, inputs: Mapping[str, np.ndarray]) -> dict[str, np.ndarray]:
        """The outputs by name, from the inputs by name.

        Raises:
            ValueError: the runtime cannot compute these inputs, such as images that are too small.
        """


def _shapes(inputs: Mapping[str, np.ndarray]) -> str:
    """The names and shapes of inputs, for messages."""
    return ", ".join(f"{name} of {value.shape}" for name, value in inputs.items())


class OnnxRuntimeSession:
    """A model in ONNX Runtime.

    Args:
        file: the ONNX model.
        threads: on the CPU; None for ONNX Runtime's choice.
        precision: "float32", because ONNX Runtime computes every part of a model as the file has it.

    Raises:
        ImportError: ONNX Runtime is not installed.
        ValueError: the file is no ONNX model, or the precision is another one.
    """

    def __init__(
        self, file: Path, threads: int | None = None, precision: RuntimePrecision = "float32"
    ) -> None:
        try:
            import onnxruntime
        except ImportError as error:
            raise ImportError("ONNX Runtime is not installed: pip install onnxruntime") from error
        if precision != "float32":
            raise ValueError(
                "ONNX Runtime computes a model as the file has it: the precision of the runtime must be "
                f"'float32', not {precision!r}, or the backend 'openvino'"
            )
        options = onnxruntime.SessionOptions()
        options.log_severity_level = 3
        if threads is not None:
            options.intra_op_num_threads = threads
        try:
            self.session = onnxruntime.InferenceSession(
                str(file), options, providers=onnxruntime.get_available_providers()
            )
        except Exception as error:  # the exceptions of ONNX Runtime have no common base
            raise ValueError(f"{file}: ONNX Runtime cannot read this model: {error}") from error
        self.names = [output.name for output in self.session.get_outputs()]

    def run(self, inputs: Mapping[str, np.ndarray]) -> dict[str, np.ndarray]:
        try:
            results = self.session.run(self.names, dict(inputs))
        except Exception as error:  # as above
            raise ValueError(f"ONNX Runtime cannot compute {_shapes(inputs)}: {error}") from error
        return dict(zip(self.names, results, strict=True))


@dataclass(frozen=True)
class OpenVINOPrecision:
    """A precision by the names of OpenVINO.

    Attributes:
        hint: value of INFERENCE_PRECISION_HINT.
        capability: what the device must list to have it.
    """

    hint: str
    capability: str


OPENVINO_PRECISIONS: dict[str, OpenVINOPrecision] = {
    "float32": OpenVINOPrecision("f32", "FP32"),
    "bfloat16": OpenVINOPrecision("bf16", "BF16"),
    "float16": OpenVINOPrecision("f16", "FP16"),
}


class OpenVINOSession:
    """A model in OpenVINO, on the CPU.

    Args:
        file: the ONNX model.
        threads: None for OpenVINO's choice.
        precision: of the network, up to the last convolutions, where it is float32 in the file
            (:mod:`posecore.inference.half_network`). The half precisions need a processor that computes in
            them. Parts that are int8 stay int8.

    Raises:
        ImportError: OpenVINO is not installed.
        ValueError: the file is no ONNX model, or the processor lacks the precision.
    """

    def __init__(
        self, file: Path, threads: int | None = None, precision: RuntimePrecision = "float32"
    ) -> None:
        try:
            import openvino
        except ImportError as error:
            raise ImportError("OpenVINO is not installed: pip install openvino") from error
        core, chosen = openvino.Core(), OPENVINO_PRECISIONS[precision]
        # OpenVINO would compute in float32 without a word.
        if chosen.capability not in core.get_property("CPU", "OPTIMIZATION_CAPABILITIES"):
            raise ValueError(
                f"this processor does not compute in {precision}: the precision of the runtime must be "
                "'float32'"
            )
        try:
            model = core.read_model(str(file))
            # A compiled model has other names of the same tensors too.
            self.names = [output.get_any_name() for output in model.outputs]
            parts = divide(model) if precision != "float32" else None

            def compiled(part: Any, hint: str) -> Any:
                # Without the hint OpenVINO computes in bfloat16 where the processor can.
                settings: dict[str, Any] = {"INFERENCE_PRECISION_HINT": hint}
                if threads is not None:
                    settings["INFERENCE_NUM_THREADS"] = threads
                return core.compile_model(part, "CPU", settings).create_infer_request()

            self.network = None if parts is None else compiled(parts.network, chosen.hint)
            self.rest = compiled(model if parts is None else parts.rest, OPENVINO_PRECISIONS["float32"].hint)
        except RuntimeError as error:
            raise ValueError(f"{file}: OpenVINO cannot read this model: {error}") from error

    def run(self, inputs: Mapping[str, np.ndarray]) -> dict[str, np.ndarray]:
        try:
            given: dict[Any, Any] = dict(inputs)
            if self.network is not None:
                self.network.infer(given)
                # The maps are inputs without names, behind those of the model.
                for index, tensor in enumerate(self.network.output_tensors):
                    given[len(inputs) + index] = tensor
            results = self.rest.infer(given)
        except RuntimeError as error:
            raise ValueError(f"OpenVINO cannot compute {_shapes(inputs)}: {error}") from error
        return {name: np.array(results[name]) for name in self.names}


SESSIONS: dict[str, type[OnnxRuntimeSession] | type[OpenVINOSession]] = {
    "onnxruntime": OnnxRuntimeSession,
    "openvino": OpenVINOSession,
}
