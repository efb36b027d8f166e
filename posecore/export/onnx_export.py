"""Exports a trained model to ONNX and checks it at once against PyTorch: :func:`export_onnx`."""

import dataclasses
import importlib.util
import json
import math
import tempfile
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from detectron2.config import CfgNode

from posecore.checkpoint.checkpointer import PoseCheckpointer, weight_choice
from posecore.config.merge import UsageError
from posecore.data.samples import build_samples
from posecore.export.comparison import (
    Deviation,
    DeviationError,
    MetricPair,
    Tolerance,
    compare,
    compare_metrics,
    raw_deviation,
)
from posecore.export.description import describe
from posecore.export.graph import ExportGraph, Outputs, graph_class
from posecore.export.images import CheckImage
from posecore.export.onnx_file import write_onnx
from posecore.export.precision import Precision, to_float16, to_int8
from posecore.inference.onnx import (
    SESSIONS,
    Backend,
    CropInput,
    Description,
    ImageInput,
    OnnxPredictor,
    RuntimePrecision,
    description_file,
)
from posecore.inference.predictor import Predictor
from posecore.modeling.build import build_model

# The packages that each step needs, and the extra that installs them.
REQUIRED = ("onnx", "onnxscript", "onnxruntime")
# The largest difference of a raw output, relative to its largest value.
RAW_TOLERANCES: dict[Precision, float] = {"float32": 1e-3, "float16": 5e-2}
# Persons with a lower score are not compared, the default of tools/predict.py.
LEAST_SCORE = 0.3


@dataclass(frozen=True)
class ExportSettings:
    """What is exported, and how it is checked.

    Attributes:
        outputs: final poses or raw predictions.
        precision: of the exported model.
        tolerance: the largest deviation from PyTorch.
        least_score: persons with a lower score are not compared.
        evaluate: whether both models are evaluated on the first dataset of DATASETS.TEST.
        backend: the runtime that the exported model is checked in.
        threads: of the runtime; None for its choice.
        runtime_precision: that the runtime computes the float32 parts of the exported model in.
    """

    outputs: Outputs
    precision: Precision
    tolerance: Tolerance
    least_score: float = LEAST_SCORE
    evaluate: bool = False
    backend: Backend = "onnxruntime"
    threads: int | None = None
    runtime_precision: RuntimePrecision = "float32"

    @property
    def computed_precision(self) -> Precision:
        """The precision whose tolerances hold: that of the model, or the lower one of the runtime."""
        if self.precision == "float32" and self.runtime_precision != "float32":
            return "float16"
        return self.precision


@dataclass(frozen=True)
class ExportReport:
    """What an export has measured.

    Attributes:
        deviation: of the poses; None for raw predictions.
        raw: of each raw output, relative to its largest value; empty for poses.
        metrics: of the dataset; None without an evaluation.
    """

    deviation: Deviation | None
    raw: Mapping[str, float]
    metrics: MetricPair | None

    def as_dict(self) -> dict[str, Any]:
        """The figures for the description."""
        figures: dict[str, Any] = {}
        if self.deviation is not None:
            figures |= dataclasses.asdict(self.deviation)
        if self.raw:
            figures["raw"] = dict(self.raw)
        if self.metrics is not None:
            pairs = {"pytorch": self.metrics.pytorch, "exported": self.metrics.exported}
            # JSON has no NaN, which the metric of persons is that a dataset has none of.
            figures["metrics"] = {
                name: {key: value if math.isfinite(value) else None for key, value in metrics.items()}
                for name, metrics in pairs.items()
            }
        return figures


def export_onnx(
    cfg: CfgNode, file: Path, images: Sequence[CheckImage], settings: ExportSettings
) -> ExportReport:
    """Exports the model of a configuration with MODEL.WEIGHTS, and the description beside it.

    Both files appear together at the end. If the exported model deviates from PyTorch, or anything else goes
    wrong, there is neither, and what was there before stays.

    Args:
        cfg: the configuration.
        file: the ONNX model to be written.
        images: on which the model is checked, and for int8 the ranges of its maps are measured.
        settings: what is exported.

    Raises:
        UsageError: the model cannot be exported, or a package is missing.
        CheckpointError: the weights do not fit the model.
        DeviationError: the exported model deviates from PyTorch.
    """
    check_packages(settings)
    cfg = _on_cpu(cfg)
    model = build_model(cfg)
    graph = graph_class(model).from_config(cfg, model, settings.outputs)
    PoseCheckpointer(model).load(cfg.MODEL.WEIGHTS, weights=weight_choice(cfg))
    model.eval()
    with tempfile.TemporaryDirectory(prefix=f".{file.name}.", dir=file.parent) as folder:
        unfinished = Path(folder) / file.name
        plain = unfinished.with_name(f"float32.{file.name}")
        write_onnx(graph, plain if settings.precision != "float32" else unfinished)
        prepare = Description.parse(_readable(describe(cfg, graph, settings.precision, {}))).prepare
        if settings.precision == "float16":
            to_float16(plain, unfinished)
        elif settings.precision == "int8":
            to_int8(plain, unfinished, [_inputs(prepare, [check]) for check in images], graph.float_parts)
        evaluation = _with_output(cfg, Path(folder))
        report = _check(evaluation, graph, prepare, unfinished, images, settings)
        measured = {"backend": settings.backend, "runtime_precision": settings.runtime_precision}
        content = describe(cfg, graph, settings.precision, measured | report.as_dict())
        text = json.dumps(content, indent=1, allow_nan=False)
        unfinished_text = description_file(unfinished)
        unfinished_text.write_text(text + "\n", encoding="utf-8")
        unfinished_text.replace(description_file(file))
        unfinished.replace(file)
    return report


def check_packages(settings: ExportSettings) -> None:
    """
    Raises:
        UsageError: a package that the export needs is not installed.
    """
    wanted = [*REQUIRED]
    if settings.precision == "float16":
        wanted.append("onnxconverter_common")
    missing = [name for name in wanted if importlib.util.find_spec(name) is None]
    if missing:
        raise UsageError(
            f"{', '.join(missing)} not installed, which exports need: pip install -r "
            "requirements/export.txt, or the extra posecore[export]"
        )
    if settings.backend == "openvino" and importlib.util.find_spec("openvino") is None:
        raise UsageError("openvino is not installed: pip install -r requirements/openvino.txt")
    if settings.runtime_precision != "float32" and settings.backend != "openvino":
        raise UsageError(
            f"--runtime-precision {settings.runtime_precision} needs --backend openvino: ONNX Runtime "
            "computes a model as the file has it"
        )


def _check(
    cfg: CfgNode,
    graph: ExportGraph,
    prepare: ImageInput | CropInput,
    file: Path,
    images: Sequence[CheckImage],
    settings: ExportSettings,
) -> ExportReport:
    """Runs the exported model and the PyTorch model, and compares them.

    Raises:
        DeviationError: the deviation is beyond the tolerance.
    """
    session = SESSIONS[settings.backend](file, settings.threads, settings.runtime_precision)
    if settings.outputs == "raw":
        differences: dict[str, float] = {}
        for check in images:
            found = raw_deviation(graph, session.run, _inputs(prepare, [check]))
            differences = {name: max(value, differences.get(name, 0.0)) for name, value in found.items()}
        name, worst = max(differences.items(), key=lambda item: item[1])
        if not worst <= (tolerance := RAW_TOLERANCES[settings.computed_precision]):
            raise DeviationError(
                f"the exported model deviates from PyTorch: output {name} by {worst:.3g} of its largest "
                f"value, more than {tolerance:g}; nothing was written"
            )
        return ExportReport(None, differences, None)
    description = Description.parse(_readable(describe(cfg, graph, settings.precision, {})))
    exported = OnnxPredictor(description, session)
    predictor = Predictor(graph.model, build_samples(cfg))
    deviation = compare(predictor, exported, images, settings.least_score)
    deviation.check(settings.tolerance)
    metrics = compare_metrics(cfg, graph.model, exported) if settings.evaluate else None
    if metrics is not None:
        metrics.check(settings.tolerance)
    return ExportReport(deviation, {}, metrics)


def _inputs(prepare: ImageInput | CropInput, images: Sequence[CheckImage]) -> dict[str, np.ndarray]:
    """The inputs of the graph for some images."""
    if isinstance(prepare, ImageInput):
        return prepare.inputs([prepare.sample(check.image) for check in images])
    return prepare.inputs([prepare.sample(check.image, check.boxes) for check in images])


def _readable(content: dict[str, Any]) -> dict[str, Any]:
    """A description as a predictor takes it, also where the outputs are raw and only the input is wanted."""
    return content | {"outputs": "poses"}


def _on_cpu(cfg: CfgNode) -> CfgNode:
    """The configuration of the model that is traced: on the CPU, in float32, not compiled or augmented."""
    cfg = cfg.clone()
    cfg.defrost()
    cfg.MODEL.DEVICE = "cpu"
    cfg.MODEL.COMPILE = False
    cfg.MODEL.CHANNELS_LAST = False
    cfg.TEST.PRECISION = "float32"
    cfg.TEST.AUG.ENABLED = False
    cfg.TEST.LOSSES = False
    cfg.freeze()
    return cfg


def _with_output(cfg: CfgNode, folder: Path) -> CfgNode:
    """The configuration with results of an evaluation in a folder that will be deleted."""
    cfg = cfg.clone()
    cfg.defrost()
    cfg.OUTPUT_DIR = str(folder)
    cfg.freeze()
    return cfg
