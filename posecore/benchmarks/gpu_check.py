"""Checks a GPU part by part (:func:`run_parts`): build, tests, operators, models, training steps, memory.

Each part is a process of its own with a time limit, and yields rows of figures, which are written as they
come. So a run that is cut keeps what it has. tools/gpu_check.py is the command.
"""

import contextlib
import json
import math
import os
import re
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import asdict, dataclass, field
from functools import partial
from pathlib import Path
from typing import Any

import torch

from posecore.benchmarks.timing import PASSES, ImageBatch, copy_bandwidth, describe_machine, take_turns
from posecore.config.repository import REPOSITORY
from posecore.engine.markdown import markdown_table

# The operators may not be compiled yet when this module is imported, so the parts import what needs them.

# Figures by the name of their column.
Row = dict[str, str | float]

CONFIGS = (
    "directpose/R_50_25ep.yaml",
    "fcpose/R_50_1x.yaml",
    "inspose/R_50_36ep.yaml",
    "poet/R_50.yaml",
    "poseur/R_50_256x192.yaml",
)
# Files with tests for GPUs, and the names of these tests.
GPU_TESTS = ("tests/posecore/ops", "tests/posecore/engine/test_step.py")
GPU_TEST_NAMES = "cuda or two_devices"
TYPES = {"float32": torch.float32, "bfloat16": torch.bfloat16}


@dataclass(frozen=True)
class CheckSettings:
    """What is measured.

    Attributes:
        device: "cuda" or "cpu".
        size: height and width of the images.
        persons: in an image.
        rounds: runs of each candidate.
        configs: our models, below configs/.
    """

    device: str
    size: tuple[int, int] = (800, 1216)
    persons: int = 20
    rounds: int = 5
    configs: tuple[str, ...] = CONFIGS


def build(settings: CheckSettings) -> Iterator[Row]:
    """Compiles the operators for the GPUs of this machine and installs the checkout in place."""
    start = time.monotonic()
    command = [sys.executable, "-m", "pip", "install", "-q", "--no-deps", "--no-build-isolation", "-e", "."]
    subprocess.run(command, cwd=REPOSITORY, check=True)
    yield {"step": "compile", "seconds": round(time.monotonic() - start, 1)}


def tests(settings: CheckSettings) -> Iterator[Row]:
    """Runs the tests that need a GPU; they are skipped where there is none.

    Raises:
        RuntimeError: some fail.
    """
    start = time.monotonic()
    command = [
        sys.executable,
        "-m",
        "pytest",
        "-q",
        "-p",
        "no:cacheprovider",
        *GPU_TESTS,
        "-k",
        GPU_TEST_NAMES,
    ]
    output = subprocess.run(command, cwd=REPOSITORY, capture_output=True, text=True).stdout
    seconds = round(time.monotonic() - start, 1)
    summary = output.strip().rpartition("\n")[2]
    counts = {kind: int(count) for count, kind in re.findall(r"(\d+) (passed|failed|skipped|error)", summary)}
    yield (
        {"tests": " ".join(GPU_TESTS)}
        | {kind: counts.get(kind, 0) for kind in ("passed", "failed", "error", "skipped")}
        | {"seconds": seconds}
    )
    failed = re.findall(r"^(?:FAILED|ERROR) (\S+)", output, re.MULTILINE)
    if failed or not counts:
        raise RuntimeError(f"tests for GPUs must pass, but these do not: {' '.join(failed) or output[-500:]}")


def operators(settings: CheckSettings) -> Iterator[Row]:
    """Times both operators beside grid_sample, and compares the bytes they move with a copy's."""
    from posecore.benchmarks import keypoint_sample as sampling
    from posecore.benchmarks import ms_deform_attn as attention
    from posecore.ops import keypoint_sample

    batch = ImageBatch(1, settings.size, settings.device)
    bandwidth = copy_bandwidth(settings.rounds) if settings.device == "cuda" else None
    times = partial(take_turns, rounds=settings.rounds, device=settings.device)
    for name, dtype in TYPES.items():
        for kind, run_as in PASSES.items():
            for use in sampling.CASES:
                sums, traffic = {"grid_sample": 0.0, "ours": 0.0}, 0
                for stride in sampling.STRIDES:
                    data = sampling.make_example(use, stride, dtype, batch)
                    last = data.value.contiguous(memory_format=torch.channels_last)
                    candidates = {
                        "grid_sample": run_as(sampling.by_grid_sample, data.value, data.grid),
                        "ours": run_as(keypoint_sample, last, data.points, data.images),
                    }
                    for candidate, milliseconds in times(candidates).items():
                        sums[candidate] += milliseconds
                    traffic += sampling.least_traffic(data, kind)
                names: Row = {"operator": "keypoint_sample", "use": use.name, "type": name, "pass": kind}
                yield names | _speed(sums, traffic, bandwidth)
            for case in attention.cases(batch):
                example = case.make(dtype, settings.device)
                inputs = example.value, example.locations, example.weights
                sums = times(
                    {
                        "grid_sample": run_as(partial(attention.by_grid_sample, example.shapes), *inputs),
                        "ours": run_as(partial(attention.ours, example.shapes), *inputs),
                    }
                )
                names = {"operator": "ms_deform_attn", "use": case.name, "type": name, "pass": kind}
                yield names | _speed(sums, attention.least_traffic(example, kind), bandwidth)


def _speed(milliseconds: dict[str, float], traffic: int, bandwidth: float | None) -> Row:
    theirs, ours = milliseconds["grid_sample"], milliseconds["ours"]
    speed = traffic / ours * 1e3
    row: Row = {
        "grid_sample ms": round(theirs, 4),
        "ours ms": round(ours, 4),
        "speedup": round(theirs / ours, 2),
        "GB/s": round(speed / 1e9, 3),
    }
    return row if bandwidth is None else row | {"of a copy": round(speed / bandwidth, 3)}


def models(settings: CheckSettings) -> Iterator[Row]:
    """Times predictions of one image beside Keypoint R-CNN's, each in turns with it."""
    from posecore.benchmarks.model import PEER

    peer = prediction(PEER, settings)
    for config in settings.configs:
        candidates = {PEER: peer, config: prediction(config, settings)}
        times = take_turns(candidates, settings.rounds, settings.device)
        yield {
            "model": config,
            "persons": settings.persons,
            "ms": round(times[config], 2),
            "Keypoint R-CNN ms": round(times[PEER], 2),
            "ratio": round(times[config] / times[PEER], 3),
        }


def memory(settings: CheckSettings) -> Iterator[Row]:
    """The peak memory of building a model and predicting one image, each in a process of its own."""
    from posecore.benchmarks.memory import in_new_process
    from posecore.benchmarks.model import PEER

    for name in (PEER, *settings.configs):
        yield {"model": name, "MiB": round(in_new_process(peak_of_prediction, name, settings))}


def peak_of_prediction(name: str, settings: CheckSettings) -> float:
    """MiB of this process after one prediction (:func:`posecore.benchmarks.memory.peak_of_process`)."""
    from posecore.benchmarks.memory import peak_of_process

    prediction(name, settings)()
    return peak_of_process(settings.device)


def prediction(name: str, settings: CheckSettings) -> Callable[[], None]:
    """A function that predicts an image with the model of a configuration, or with the peer."""
    from detectron2.modeling import build_model

    from posecore.benchmarks.model import (
        PEER,
        boxes_side_by_side,
        build_keypoint_rcnn,
        build_ours,
        our_cfg,
        predict,
    )
    from posecore.data import PersonBoxes, build_samples

    torch.manual_seed(0)
    image = torch.randint(0, 256, (3, *settings.size), dtype=torch.uint8)
    if name == PEER:
        run = partial(predict, build_keypoint_rcnn(settings.device), image, settings.persons)
    else:
        cfg = _config(name, settings)
        samples = build_samples(cfg)
        if samples.needs_boxes:
            boxes = boxes_side_by_side(settings.size, settings.persons, torch.device("cpu"))
            sample = samples.sample(image.permute(1, 2, 0).numpy(), PersonBoxes.from_instances(boxes))
            run = partial(build_model(cfg).eval(), [sample])
        else:
            run = partial(predict, build_ours(our_cfg(name, settings.device)), image, settings.persons)

    @torch.no_grad()
    def run_without_gradients() -> None:
        run()

    return run_without_gradients


def training(settings: CheckSettings) -> Iterator[Row]:
    """Times a step (forward, backward, update) on two drawn images beside Keypoint R-CNN's, and its memory.

    Raises:
        FloatingPointError: a loss is not finite.
    """
    from posecore.benchmarks.model import PEER
    from posecore.benchmarks.training import (
        DrawnImages,
        benchmark_cfg,
        build_peer_training,
        build_training,
        steps_in_turns,
    )

    with DrawnImages(2, settings.size, settings.persons).written(settings.configs) as folder:
        for config in settings.configs:
            ours = build_training(benchmark_cfg(config, folder, settings.device))
            if settings.device == "cuda":
                torch.cuda.reset_peak_memory_stats()
            losses = {name: loss.item() for name, loss in ours.model(ours.batch).items()}
            if bad := {name: loss for name, loss in losses.items() if not math.isfinite(loss)}:
                raise FloatingPointError(f"the losses of {config} must be finite, but these are not: {bad}")
            ours.step()
            row: Row = {"model": config, "samples": len(ours.batch)}
            if settings.device == "cuda":
                row["MiB"] = round(torch.cuda.max_memory_allocated() / 2**20)
            # After the memory is read, because the peer takes some too.
            peer = build_peer_training(folder, settings.device, None)
            times = steps_in_turns({PEER: peer, config: ours}, settings.rounds)
            row["ms"] = round(times[config].step, 2)
            row["Keypoint R-CNN ms"] = round(times[PEER].step, 2)
            row["ratio"] = round(times[config].step / times[PEER].step, 3)
            yield row


def _config(name: str, settings: CheckSettings) -> Any:
    from posecore.config import get_cfg
    from posecore.config.merge import merge_config
    from posecore.config.repository import CONFIGS as FOLDER

    height, width = settings.size
    sizes = ["INPUT.MIN_SIZE_TEST", str(min(height, width)), "INPUT.MAX_SIZE_TEST", str(max(height, width))]
    return merge_config(
        get_cfg(), FOLDER / name, [*sizes, "MODEL.DEVICE", settings.device, "MODEL.WEIGHTS", ""]
    )


@dataclass(frozen=True)
class Part:
    """A part of the check.

    Attributes:
        run: yields its rows.
        limit: seconds after which it is cut.
    """

    run: Callable[[CheckSettings], Iterator[Row]]
    limit: float


# The limits are under nine minutes in all.
PARTS = {
    "build": Part(build, 150),
    "tests": Part(tests, 90),
    "operators": Part(operators, 80),
    "models": Part(models, 80),
    "training": Part(training, 80),
    "memory": Part(memory, 50),
}


@dataclass
class PartResult:
    """What is known of a part.

    Attributes:
        status: "running", "done", or what went wrong.
        seconds: that it took.
        rows: its figures so far.
    """

    status: str = "running"
    seconds: float = 0.0
    rows: list[Row] = field(default_factory=list)


def run_parts(
    commands: dict[str, Sequence[str]], output: Path, *, device: str, limits: dict[str, float]
) -> dict[str, PartResult]:
    """Runs parts one after the other and writes gpu_check.json and gpu_check.md after every row.

    Args:
        commands: of the processes by the names of their parts (:func:`part_command`); each prints a row in
            JSON per line.
        output: folder of both files, and of PART.log with the errors that a part prints.
        device: of the check, which the files name.
        limits: seconds by the names of the parts.
    """
    results: dict[str, PartResult] = {}
    output.mkdir(parents=True, exist_ok=True)
    for name, command in commands.items():
        result = results[name] = PartResult()
        write_results(results, output, device)
        start = time.monotonic()
        was_cut = threading.Event()
        with (
            open(output / f"{name}.log", "w") as log,
            subprocess.Popen(
                command, stdout=subprocess.PIPE, stderr=log, text=True, start_new_session=True
            ) as process,
        ):
            timer = threading.Timer(limits[name], _cut, (process, was_cut))
            timer.start()
            try:
                assert process.stdout is not None
                for line in process.stdout:
                    result.rows.append(json.loads(line))
                    result.seconds = round(time.monotonic() - start, 1)
                    write_results(results, output, device)
                status = process.wait()
            finally:
                timer.cancel()
                _kill(process)
        result.seconds = round(time.monotonic() - start, 1)
        if was_cut.is_set():
            result.status = f"cut after {limits[name]:g} s"
        elif status:
            lines = (output / f"{name}.log").read_text().strip().splitlines()
            result.status = f"failed: {lines[-1] if lines else f'exit status {status}'}"
        else:
            result.status = "done"
        write_results(results, output, device)
    return results


def part_command(name: str, settings: CheckSettings) -> list[str]:
    """The command that runs a part of :data:`PARTS`."""
    return [sys.executable, "-m", "posecore.benchmarks.gpu_check", name, json.dumps(asdict(settings))]


def _cut(process: subprocess.Popen, was_cut: threading.Event) -> None:
    was_cut.set()
    _kill(process)


def _kill(process: subprocess.Popen) -> None:
    """Ends a process with all that it has started."""
    with contextlib.suppress(ProcessLookupError):
        os.killpg(process.pid, signal.SIGKILL)


def write_results(results: dict[str, PartResult], output: Path, device: str) -> None:
    """Writes both files, each at once, so that none is ever half written."""
    machine = describe_machine(device)
    content = {"machine": machine, "parts": {name: asdict(result) for name, result in results.items()}}
    page = [machine]
    for name, result in results.items():
        page.append(f"## {name}\n\n{result.status}, {result.seconds:g} s")
        if result.rows:
            columns = list(dict.fromkeys(column for row in result.rows for column in row))
            page.append(
                markdown_table(
                    columns, ([str(row.get(column, "")) for column in columns] for row in result.rows)
                )
            )
    files = {"gpu_check.json": json.dumps(content, indent=1), "gpu_check.md": "\n\n".join(page)}
    for name, text in files.items():
        part = output / f"{name}.part"
        part.write_text(text + "\n")
        part.replace(output / name)


def main(name: str, settings: str) -> None:
    """Prints the rows of a part; whatever else its libraries print goes to stderr."""
    rows = os.fdopen(os.dup(1), "w")
    os.dup2(2, 1)
    values = json.loads(settings)
    values |= {key: tuple(values[key]) for key in ("size", "configs")}
    for row in PARTS[name].run(CheckSettings(**values)):
        print(json.dumps(row), file=rows, flush=True)


if __name__ == "__main__":
    main(*sys.argv[1:])
