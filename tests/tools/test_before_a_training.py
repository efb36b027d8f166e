"""train_net.py --print-config, --dry-run and --profile, and the key DETERMINISTIC."""

import gzip
import json
import os
import re
import subprocess
import sys
from pathlib import Path

import pytest
import torch
import yaml
from helpers import small_training

from posecore.config.repository import REPOSITORY
from posecore.data.synthetic import make_dataset

pytestmark = pytest.mark.long

CONFIG = "configs/directpose/demo/synthetic.yaml"


@pytest.fixture(scope="module")
def definition(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return make_dataset(tmp_path_factory.mktemp("data"), num_images=4, size=(64, 64), people=(1, 1))


def finished(definition: Path, output: Path, *arguments: str, options: tuple[str, ...] = ()) -> str:
    """The screen of a run that ends well."""
    arguments = ("DATALOADER.NUM_WORKERS", "0", *arguments)
    process = small_training.start(definition, output, *arguments, options=options)
    assert process.wait(timeout=240) == 0, small_training.screen(output)
    return small_training.screen(output)


def test_print_config_starts_nothing(tmp_path: Path) -> None:
    command = [sys.executable, "tools/train_net.py", "--config-file", CONFIG, "--print-config"]
    done = subprocess.run(
        [*command, "OUTPUT_DIR", str(tmp_path / "out"), "SOLVER.BASE_LR", "0.5"],
        cwd=REPOSITORY,
        capture_output=True,
        text=True,
    )
    assert done.returncode == 0, done.stderr
    assert re.search(r"^  BASE_LR: 0\.5 +# command line$", done.stdout, re.MULTILINE)
    assert re.search(r"^  META_ARCHITECTURE: DirectPose +# configs/[\w/.-]+$", done.stdout, re.MULTILINE)
    assert yaml.safe_load(done.stdout)["SOLVER"]["BASE_LR"] == 0.5
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize("processes", ["1", "2"])
def test_dry_run_prints_what_a_training_costs(definition: Path, tmp_path: Path, processes: str) -> None:
    output = tmp_path / "out"
    screen = finished(
        definition, output, "TEST.EVAL_PERIOD", "5", options=("--dry-run", "--num-gpus", processes)
    )
    assert re.search(r"first step: .*loss_\w+ [\d.]+.*total_loss [\d.]+.*grad_norm", screen)
    assert re.search(r"second step: [\d.e-]+ s, [\d.e+]+ images per second", screen)
    assert re.search(r"evaluation on synthetic_train: .* s per image.* poses in the first image", screen)
    assert re.search(r"peak memory of a process: \d+ MiB", screen)
    assert re.search(r"12 iterations and 3 evaluations would take about .* end at about 20\d\d-", screen)
    assert screen.count("first step:") == 1
    assert not output.exists()


def test_dry_run_ends_like_the_training(definition: Path, tmp_path: Path) -> None:
    output = tmp_path / "out"
    weights = ("MODEL.WEIGHTS", "missing.pth")
    process = small_training.start(definition, output, *weights, options=("--dry-run",))
    assert process.wait(timeout=240) == 1
    screen = small_training.screen(output)
    assert screen.splitlines()[-1] == "train_net.py: MODEL.WEIGHTS missing.pth: the file does not exist"


def test_dry_run_and_resume_exclude_each_other(definition: Path, tmp_path: Path) -> None:
    output = tmp_path / "out"
    process = small_training.start(definition, output, options=("--dry-run", "--resume"))
    assert process.wait(timeout=240) == 2
    assert "give them without --eval-only, --resume and --overwrite" in small_training.screen(output)


def test_profile_leaves_a_trace_and_a_table(definition: Path, tmp_path: Path) -> None:
    output = tmp_path / "out"
    screen = finished(definition, output, options=("--profile", "2"))
    assert "aten::convolution" in screen or "aten::mkldnn_convolution" in screen
    assert {path.name for path in output.iterdir()} == {"profile"}
    with gzip.open(output / "profile" / "trace.rank0.json.gz", "rt") as file:
        names = [event.get("name") for event in json.load(file)["traceEvents"]]
    assert names.count("step") == 2
    assert "Self CPU" in (output / "profile" / "table.rank0.txt").read_text()
    assert not list(output.rglob("*.pth"))


def test_deterministic_trainings_are_equal(definition: Path, tmp_path: Path) -> None:
    for name in ("a", "b"):
        finished(definition, tmp_path / name, "DETERMINISTIC", "True", "SOLVER.MAX_ITER", "3")
    assert small_training.equal(*(small_training.final_weights(tmp_path / name) for name in ("a", "b")))


def test_deterministic_needs_a_seed(definition: Path, tmp_path: Path) -> None:
    output = tmp_path / "out"
    process = small_training.start(definition, output, "DETERMINISTIC", "True", "SEED", "-1")
    assert process.wait(timeout=240) == 1
    assert "DETERMINISTIC True needs a SEED of 0 or more" in small_training.screen(output).splitlines()[-1]


UNSTABLE = """
import torch
from helpers.support import core_cfg
from posecore.engine.determinism import operator_errors, set_deterministic

set_deterministic(core_cfg("DETERMINISTIC", True, "SEED", 0))
assert torch.are_deterministic_algorithms_enabled()
values, places = torch.nn.MaxPool2d(2, return_indices=True)(torch.rand(1, 1, 4, 4))
try:
    with operator_errors():
        torch.nn.MaxUnpool2d(2)(values, places)
except ValueError as error:
    print(f"{type(error).__name__}: {error}")
try:
    with operator_errors():
        raise RuntimeError("another error")
except RuntimeError as error:
    print(f"{type(error).__name__}: {error}")
"""


def test_deterministic_names_the_operator_that_is_not() -> None:
    done = subprocess.run(
        [sys.executable, "-c", UNSTABLE],
        cwd=REPOSITORY,
        env={**os.environ, "PYTHONPATH": f"{REPOSITORY}:{REPOSITORY / 'tests'}"},
        capture_output=True,
        text=True,
    )
    assert done.returncode == 0, done.stderr
    first, second = done.stdout.splitlines()
    assert re.match(r"UsageError: DETERMINISTIC True: the operator max_unpooling2d\w* has no", first)
    assert second == "RuntimeError: another error"
    assert not torch.are_deterministic_algorithms_enabled()
