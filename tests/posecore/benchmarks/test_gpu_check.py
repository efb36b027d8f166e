"""The check of a GPU: its parts measure on the CPU too, and a run that is cut keeps what it has."""

import json
import os
import signal
import subprocess
import sys
import time

import pytest

from posecore.benchmarks.gpu_check import PARTS, CheckSettings, prediction, run_parts, training

pytestmark = pytest.mark.long

TINY = CheckSettings(
    device="cpu",
    size=(96, 128),
    persons=2,
    rounds=1,
    configs=("directpose/demo/coco_tiny.yaml", "poseur/demo/coco_tiny.yaml"),
)


def script(text):
    """The command of a part that runs this text."""
    return [sys.executable, "-c", text]


ROWS = script('print(\'{"a": 1}\'); print(\'{"a": 2, "b": "c"}\')')
ENDLESS = script("import time; print('{\"a\": 3}', flush=True); time.sleep(120)")
BROKEN = script("print('{\"a\": 4}'); raise ValueError('no such thing')")


def test_parts_are_cut_or_fail_alone_and_keep_their_rows(tmp_path):
    commands = {"first": ROWS, "slow": ENDLESS, "broken": BROKEN, "last": ROWS}
    limits = {"first": 300, "slow": 5, "broken": 300, "last": 300}
    results = run_parts(commands, tmp_path, device="cpu", limits=limits)
    assert {name: result.status for name, result in results.items()} == {
        "first": "done",
        "slow": "cut after 5 s",
        "broken": "failed: ValueError: no such thing",
        "last": "done",
    }
    parts = json.loads((tmp_path / "gpu_check.json").read_text())["parts"]
    rows = {name: part["rows"] for name, part in parts.items()}
    assert rows["slow"] == [{"a": 3}]
    assert rows["broken"] == [{"a": 4}]
    assert rows["first"] == rows["last"] == [{"a": 1}, {"a": 2, "b": "c"}]
    page = (tmp_path / "gpu_check.md").read_text()
    assert "## slow\n\ncut after 5 s" in page
    assert "| a | b |\n| --- | --- |\n| 1 |  |\n| 2 | c |" in page


def test_a_check_that_is_killed_keeps_what_it_has(tmp_path):
    call = (
        "from pathlib import Path; from posecore.benchmarks.gpu_check import run_parts; "
        f"run_parts({{'first': {ROWS!r}, 'slow': {ENDLESS!r}}}, Path({str(tmp_path)!r}), device='cpu', "
        "limits={'first': 300, 'slow': 300})"
    )
    process = subprocess.Popen(script(call), start_new_session=True)
    file = tmp_path / "gpu_check.json"
    end = time.monotonic() + 300
    while time.monotonic() < end and not (file.exists() and '"a": 3' in file.read_text()):
        assert process.poll() is None
        time.sleep(0.1)
    os.killpg(process.pid, signal.SIGKILL)
    process.wait()
    parts = json.loads(file.read_text())["parts"]
    assert parts["first"]["status"] == "done"
    assert len(parts["first"]["rows"]) == 2
    assert parts["slow"] == {"status": "running", "seconds": parts["slow"]["seconds"], "rows": [{"a": 3}]}


def test_all_parts_are_done_in_nine_minutes():
    assert sum(part.limit for part in PARTS.values()) < 9 * 60


def test_a_training_step_of_each_model():
    rows = list(training(TINY))
    assert [row["model"] for row in rows] == list(TINY.configs)
    persons = 2 * TINY.persons  # crops of a top-down model
    assert [row["samples"] for row in rows] == [persons if "poseur" in name else 2 for name in TINY.configs]
    assert all(row["ratio"] == pytest.approx(row["ms"] / row["Keypoint R-CNN ms"], rel=0.05) for row in rows)


@pytest.mark.parametrize("config", TINY.configs)
def test_a_prediction_of_each_model(config):
    prediction(config, TINY)()


def test_the_tool_writes_both_files(root, tmp_path):
    options = [
        "--device",
        "cpu",
        "--size",
        "64",
        "96",
        "--rounds",
        "1",
        "--limit",
        "900",
        "--parts",
        "operators",
    ]
    command = [sys.executable, "tools/gpu_check.py", "--output", str(tmp_path), *options]
    done = subprocess.run(command, cwd=root, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    (part,) = json.loads((tmp_path / "gpu_check.json").read_text())["parts"].values()
    assert part["status"] == "done"
    rows = part["rows"]
    assert len(rows) == 2 * 2 * (3 + 2)  # types, passes, uses of both operators
    assert {row["type"] for row in rows} == {"float32", "bfloat16"}
    assert all(row["ours ms"] > 0 and row["GB/s"] > 0 for row in rows)
    assert (tmp_path / "gpu_check.md").read_text() in done.stdout
