"""Computes an ONNX model in ONNX Runtime or in OpenVINO: :class:`Session`."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any, Literal, Protocol

import numpy as np

Backend = Literal["onnxruntime", "openvino"]


class Session(Protocol):
    """A model in one of the runtimes."""

    def run(self, inputs: Mapping[str, np.ndarray]) -> dict[str, np.ndarray]:
        """The outputs by name, from the inputs by name."""


class OnnxRuntimeSession:
    """A model in ONNX Runtime.

    Args:
        file: the ONNX model.
        threads: on the CPU; None for ONNX Runtime's choice.

    Raises:
        ImportError: ONNX Runtime is not installed.
        ValueError: the file is no ONNX model.
    """

    def __init__(self, file: Path, threads: int | None = None) -> None:
        try:
            import onnxruntime
        except ImportError as error:
            raise ImportError("ONNX Runtime is not installed: pip install onnxruntime") from error
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
        return dict(zip(self.names, self.session.run(self.names, dict(inputs)), strict=True))


class OpenVINOSession:
    """A model in OpenVINO, on the CPU, in float32.

    Args:
        file: the ONNX model.
        threads: None for OpenVINO's choice.

    Raises:
        ImportError: OpenVINO is not installed.
        ValueError: the file is no ONNX model.
    """

    def __init__(self, file: Path, threads: int | None = None) -> None:
        try:
            import openvino
        except ImportError as error:
            raise ImportError("OpenVINO is not installed: pip install openvino") from error
        # Without the hint it computes in bfloat16 where the processor can.
        settings: dict[str, Any] = {"INFERENCE_PRECISION_HINT": "f32"}
        if threads is not None:
            settings["INFERENCE_NUM_THREADS"] = threads
        try:
            self.model = openvino.Core().compile_model(str(file), "CPU", settings)
        except RuntimeError as error:
            raise ValueError(f"{file}: OpenVINO cannot read this model: {error}") from error
        self.names = [output.get_any_name() for output in self.model.outputs]
        self.request = self.model.create_infer_request()

    def run(self, inputs: Mapping[str, np.ndarray]) -> dict[str, np.ndarray]:
        results = self.request.infer(dict(inputs))
        return {name: np.array(results[name]) for name in self.names}


SESSIONS: dict[str, type[OnnxRuntimeSession] | type[OpenVINOSession]] = {
    "onnxruntime": OnnxRuntimeSession,
    "openvino": OpenVINOSession,
}
