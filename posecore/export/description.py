"""The description that lies beside an exported model: :func:`describe`.

``posecore.inference.onnx`` reads it, and people do.
"""

import dataclasses
from collections.abc import Mapping
from importlib.metadata import PackageNotFoundError, version
from typing import Any

from detectron2.config import CfgNode

from posecore.env import versions
from posecore.export.graph import ExportGraph
from posecore.export.onnx_file import OPSET
from posecore.inference.onnx import DESCRIPTION_VERSION
from posecore.modeling.fcos.detector import FCOSDetector

PACKAGES = ("onnx", "onnxscript", "onnxruntime", "openvino")


def describe(cfg: CfgNode, graph: ExportGraph, precision: str, measured: Mapping[str, Any]) -> dict[str, Any]:
    """The description of an exported model, as JSON has it.

    Args:
        cfg: the configuration of the model.
        graph: what was exported.
        precision: of the exported model.
        measured: what its comparison with PyTorch gave.
    """
    model = graph.model
    skeleton = model.skeleton
    return {
        "version": DESCRIPTION_VERSION,
        "method": type(model).__name__,
        "outputs": graph.outputs,
        "precision": precision,
        "weights": cfg.MODEL.WEIGHTS.rpartition("/")[2],  # folders of this machine say nothing elsewhere
        "opset": OPSET,
        "skeleton": {
            "name": skeleton.name,
            "keypoints": list(skeleton.keypoints),
            "limbs": [list(limb) for limb in skeleton.limbs],
            "flip_pairs": [list(pair) for pair in skeleton.flip_pairs],
            "sigmas": list(skeleton.sigmas),
        },
        "input": graph.input_description(cfg),
        # For information: the model itself normalizes.
        "normalization": {
            "pixel_mean": model.pixel_mean.flatten().tolist(),
            "pixel_std": model.pixel_std.flatten().tolist(),
        },
        "thresholds": thresholds(graph),
        "versions": versions() | {name: _version(name) for name in PACKAGES},
        "measured": dict(measured),
    }


def thresholds(graph: ExportGraph) -> dict[str, float | int]:
    """The thresholds that are fixed in the exported model."""
    detector = getattr(graph.model, "detector", None)
    return dataclasses.asdict(detector.inference_settings) if isinstance(detector, FCOSDetector) else {}


def _version(name: str) -> str:
    try:
        return version(name)
    except PackageNotFoundError:
        return "not installed"
