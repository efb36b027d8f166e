"""Times and memory of exported models beside PyTorch: :func:`time_exports`.

All forms of a model get the same inputs, in one process and in turns: a drawn image of 480 x 640 for a model
that reads images, 16 crops for one that reads crops. Peak memory comes from a process of its own for each.
"""

import copy
import importlib.util
import subprocess
import sys
import tempfile
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import nn

from posecore.benchmarks.memory import in_new_process
from posecore.benchmarks.model import our_cfg, prepare_random_weights
from posecore.benchmarks.timing import describe_machine, take_turns
from posecore.checkpoint.checkpointer import PoseCheckpointer, weight_choice
from posecore.data.person_boxes import PersonBoxes
from posecore.engine.memory import peak_of_process
from posecore.export.description import describe
from posecore.export.graph import graph_class
from posecore.export.images import CheckImage, drawn_images
from posecore.export.onnx_file import write_onnx
from posecore.export.precision import to_int8
from posecore.inference.onnx import SESSIONS, Backend, Description, ImageInput, RuntimePrecision
from posecore.modeling.build import build_model, compile_dense_modules

NUM_CROPS = 16
CALIBRATION_IMAGES = 4
EAGER = "PyTorch eager"

COMPILED = "torch.compile"


@dataclass(frozen=True)
class _Form:
    """An exported form of a model.

    Attributes:
        weights: of its convolutions, "float32" or "int8".
        backend: the runtime.
        precision: that the runtime computes float32 parts in.
    """

    weights: str
    backend: Backend
    precision: RuntimePrecision = "float32"


FORMS = {
    "ONNX Runtime float32": _Form("float32", "onnxruntime"),
    "ONNX Runtime int8": _Form("int8", "onnxruntime"),
    "OpenVINO float32": _Form("float32", "openvino"),
    "OpenVINO float16": _Form("float32", "openvino", "float16"),
    "OpenVINO bfloat16": _Form("float32", "openvino", "bfloat16"),
    "OpenVINO int8": _Form("int8", "openvino"),
}

# Prints the MiB at the peak of a process that only runs an exported model.
RUN_ALONE = """
import sys
import numpy as np
from posecore.inference.onnx import SESSIONS
from pathlib import Path

file, inputs, backend, threads, precision = sys.argv[1:]
SESSIONS[backend](Path(file), int(threads), precision).run(dict(np.load(inputs)))
(line,) = (line for line in open("/proc/self/status") if "VmHWM" in line)
print(int(line.split()[1]) / 1024)
"""


def time_exports(
    configs: Sequence[str],
    *,
    overrides: Sequence[str],
    compiled: bool,
    size: tuple[int, int],
    threads: int,
    rounds: int,
) -> None:
    """Prints median milliseconds, their ratio to eager PyTorch in float32, and MiB at the peak, by form.

    Args:
        configs: our models, below configs/.
        overrides: KEY VALUE pairs for all of them, such as MODEL.WEIGHTS; without it weights are random.
        compiled: whether torch.compile is timed too, which takes minutes to compile.
        size: height and width of an image.
        threads: on the CPU, of all runtimes.
        rounds: runs of each form.
    """
    torch.manual_seed(0)
    torch.set_num_threads(threads)
    print(f"{describe_machine('cpu')}; medians of {rounds} rounds; {' '.join(overrides) or 'random weights'}")
    for config in configs:
        _time_export(config, overrides, compiled, size, threads, rounds)


def _time_export(
    config: str, overrides: Sequence[str], compiled: bool, size: tuple[int, int], threads: int, rounds: int
) -> None:
    cfg, model = _build(config, overrides)
    graph = graph_class(model).from_config(cfg, model, "poses")
    prepare = Description.parse(describe(cfg, graph, "float32", {})).prepare
    checks = drawn_images(graph.model.skeleton, CALIBRATION_IMAGES, size)

    def prepared(check: CheckImage) -> dict[str, Any]:
        if isinstance(prepare, ImageInput):
            height, width = check.image.shape[:2]
            image = np.ascontiguousarray(check.image.transpose(2, 0, 1))
            return {"image": image, "height": height, "width": width}
        repeated = np.resize(check.boxes.boxes, (NUM_CROPS, 4))
        return prepare.sample(check.image, PersonBoxes(repeated, np.ones(NUM_CROPS)))

    samples = [prepared(check) for check in checks]
    inputs = prepare.inputs(samples[:1])
    batch = [{name: _tensor(value) for name, value in samples[0].items()}]
    candidates: dict[str, Callable[[], object]] = {EAGER: partial(model, batch)}
    peak = partial(in_new_process, _torch_peak, config, tuple(overrides), batch, threads)
    memory = {EAGER: peak(False)}
    if compiled:
        fast = copy.deepcopy(model)
        compile_dense_modules(fast, "inductor")
        candidates[COMPILED] = partial(fast, batch)
        memory[COMPILED] = peak(True)
    with tempfile.TemporaryDirectory() as folder:
        files = {"float32": Path(folder) / "float32.onnx", "int8": Path(folder) / "int8.onnx"}
        write_onnx(graph, files["float32"])
        batches = [prepare.inputs([sample]) for sample in samples]
        to_int8(files["float32"], files["int8"], batches, graph.float_parts)
        np.savez(Path(folder) / "inputs.npz", **inputs)  # type: ignore[arg-type]
        for name, form in FORMS.items():
            if importlib.util.find_spec(form.backend) is None:
                continue
            file = files[form.weights]
            try:
                session = SESSIONS[form.backend](file, threads, form.precision)
            except ValueError as error:
                print(f"{name} is left out: {' '.join(str(error).split())}")
                continue
            memory[name] = _exported_peak(file, Path(folder) / "inputs.npz", form, threads)
            candidates[name] = partial(session.run, inputs)
        with torch.no_grad():
            times = take_turns(candidates, rounds, "cpu")
    what = f"an image of {size[0]} x {size[1]}" if isinstance(prepare, ImageInput) else f"{NUM_CROPS} crops"
    print(f"\n{config}, {what}\n{'form':24}{'ms':>10}{'ratio':>8}{'MiB':>8}")
    for name, milliseconds in times.items():
        print(f"{name:24}{milliseconds:10.1f}{times[EAGER] / milliseconds:8.2f}{memory[name]:8.0f}")


def _build(config: str, overrides: Sequence[str]) -> tuple[Any, nn.Module]:
    """The configuration and its model in evaluation mode, with MODEL.WEIGHTS if there are some."""
    cfg = our_cfg(config, "cpu", overrides)
    model = build_model(cfg)
    if not cfg.MODEL.WEIGHTS:
        return cfg, prepare_random_weights(model)
    PoseCheckpointer(model).load(cfg.MODEL.WEIGHTS, weights=weight_choice(cfg))
    return cfg, model.eval()


def _torch_peak(
    config: str, overrides: Sequence[str], batch: list[dict[str, Any]], threads: int, compiled: bool
) -> float:
    """MiB at the peak of a process that builds the PyTorch model, compiles it if wanted, and runs it."""
    torch.set_num_threads(threads)
    _, model = _build(config, overrides)
    if compiled:
        compile_dense_modules(model, "inductor")
    with torch.no_grad():
        model(batch)
    return peak_of_process("cpu")


def _exported_peak(file: Path, inputs: Path, form: _Form, threads: int) -> float:
    """MiB at the peak of a process that runs an exported model, without PyTorch."""
    arguments = [str(file), str(inputs), form.backend, str(threads), form.precision]
    done = subprocess.run([sys.executable, "-c", RUN_ALONE, *arguments], capture_output=True, text=True)
    if done.returncode:
        raise RuntimeError(
            f"{form.backend} ended with status {done.returncode} at {file.name}: {done.stderr}"
        )
    return float(done.stdout)


def _tensor(value: Any) -> Any:
    return torch.from_numpy(value) if isinstance(value, np.ndarray) else value
