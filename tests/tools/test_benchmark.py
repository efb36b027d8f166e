"""tools/benchmark.py from its command line: its tables add up, and its errors have no traceback."""

import re
import subprocess
import sys
from pathlib import Path

import pytest
import torch


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


def test_a_wrong_key_is_one_line(root):
    done = benchmark(root, "cost", "--configs", "fcpose/R_50_1x.yaml", "--opts", "MODEL.FCPOSE.DEPT", "3")
    assert done.returncode == 1
    assert "benchmark.py: command line: unknown config key MODEL.FCPOSE.DEPT" in done.stderr
    assert "Traceback" not in done.stderr
