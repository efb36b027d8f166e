"""tools/benchmark.py from its command line: its tables add up, and its errors have no traceback."""

import re
import subprocess
import sys
from pathlib import Path

import pytest
import torch

pytestmark = pytest.mark.long


def benchmark(root: Path, *arguments: str) -> subprocess.CompletedProcess:
    command = [sys.executable, "tools/benchmark.py", *arguments]
    return subprocess.run(command, cwd=root, capture_output=True, text=True)


def test_ops_prints_a_table_for_every_use(root):
    options = ["--device", "cpu", "--threads", "1", "--rounds", "1", "--size", "64", "96"]
    output = benchmark(root, "ops", *options).stdout
    assert "1 threads" in output
    tables = output.split("\n\n")[1:]
    by_level = [table for table in tables if "1/128" in table]
    assert len(by_level) == 6
    for table in by_level:
        lines = [
            [float(figure) for figure in re.findall(r"\d+\.\d{3}", line)]
            for line in table.splitlines()
            if line.startswith(("1/", "all"))
        ]
        assert torch.tensor(lines[:-1]).sum(dim=0).tolist() == pytest.approx(lines[-1], abs=5e-3)
    by_kind = [table for table in tables if "forward and backward  " in table]
    assert len(by_kind) == 2
    for table in by_kind:
        for theirs, ours, ratio in re.findall(r"(\d+\.\d{3}) +(\d+\.\d{3}) +\((\d+\.\d\d)x\)", table):
            assert float(ratio) == pytest.approx(float(theirs) / float(ours), rel=0.02)
    assert re.search(r"256 x 192 +\S+ +\S+\n512 x 384 +\S+ +\S+\n", output)


def test_predict_prints_loops_and_parts(root):
    config = ("--config", "fcpose/demo/synthetic.yaml", "--opts", "INPUT.MIN_SIZE_TEST", "64")
    options = ("--images", "3", "--rounds", "1", "--size", "48", "64", "--batch-size", "2", "--threads", "1")
    output = benchmark(root, "predict", *options, *config).stdout
    for name in ("one by one, no threads", "one by one, threads", "batches of 2, threads"):
        assert re.search(rf"\| {name} \| [\d.]+ \| [\d.]+ \| [\d.]+ \|", output)
    for name in ("read", "prepare", "network", "draw", "write"):
        assert re.search(rf"\| {name} \| [\d.]+ \| [\d.]+% \|", output)


def test_tracking_prints_a_row_for_each_patience(root):
    options = ("--frames", "20", "--people", "2", "--seeds", "0", "--patience", "0", "2")
    output = benchmark(root, "tracking", *options).stdout
    assert "| patience s | persons | misses |" in output
    assert len(re.findall(r"^\| [02] \|", output, re.MULTILINE)) == 2


def test_a_wrong_key_is_one_line(root):
    done = benchmark(root, "cost", "--configs", "fcpose/R_50_1x.yaml", "--opts", "MODEL.FCPOSE.DEPT", "3")
    assert done.returncode == 1
    assert "benchmark.py: command line: unknown config key MODEL.FCPOSE.DEPT" in done.stderr
    assert "Traceback" not in done.stderr


SMALL = ["--device", "cpu", "--threads", "1", "--size", "96", "128", "--persons", "1", "--images", "2"]
DEMOS = ["--configs", "directpose/demo/synthetic.yaml", "poseur/demo/synthetic.yaml"]


def test_train_prints_phases_beside_the_peer(root):
    done = benchmark(root, "train", "--rounds", "1", *SMALL, *DEMOS, "--opts", "SOLVER.AMP.ENABLED", "True")
    lines = [line for line in done.stdout.splitlines() if re.search(r"R-CNN|\.yaml", line)]
    assert len(lines) == 3, done.stderr
    table = [[float(figure) for figure in re.findall(r" (\d+(?:\.\d\d)?)(?= |$)", line)] for line in lines]
    for row in table:
        forward, _, backward, _, update, _, step, ratio = row
        assert forward + backward + update == pytest.approx(step, abs=3)
        assert ratio == pytest.approx(step / table[0][-2], abs=0.02)
    assert table[0][1::2] == [1.0] * 4


def test_keys_prints_a_row_for_each_setting(root):
    done = benchmark(root, "keys", "--rounds", "1", *SMALL, *DEMOS[:2], "--only", "SOLVER.EMA.ENABLED")
    rows = [line.split(" | ") for line in done.stdout.splitlines() if line.startswith("| directpose")]
    assert [row[2] for row in rows] == ["none", "`SOLVER.EMA.ENABLED True`"], done.stderr
    without, averaged = ([float(value.strip("| ")) for value in row[3:]] for row in rows)
    assert without[1::2] == [1.0, 1.0]
    assert averaged[1] == pytest.approx(averaged[0] / without[0], abs=0.02)
    assert averaged[3] == pytest.approx(averaged[2] / without[2], abs=0.02)
    done = benchmark(root, "keys", "--only", "SOLVER.EMA")
    assert "--only SOLVER.EMA is not measured: it must be among MODEL." in done.stderr


def test_memory_of_training_shows_what_checkpointing_saves(root):
    config = ["--configs", "poseur/HRFormer_T_256x192.yaml"]
    done = benchmark(root, "memory", "--training", *SMALL, *config, "--images", "8")
    plain, saving, ratio = map(float, re.findall(r" (\d+(?:\.\d\d)?)(?= |$)", done.stdout.splitlines()[-1]))
    assert ratio == pytest.approx(saving / plain, abs=0.01), done.stderr
    assert saving < plain
