"""The options of tools/benchmark.py: each command calls its function with arguments that it takes."""

import importlib.util
import sys
from pathlib import Path
from types import ModuleType
from unittest.mock import create_autospec

import pytest

from posecore.benchmarks.training import DrawnImages

COMMANDS = ["ops", "kpalign", "model", "train", "keys", "crops", "memory", "memory --training"]
COMMANDS += ["data", "predict", "tracking", "export"]
MEASURES = ("time_", "compare_", "measure_")


@pytest.fixture(scope="module")
def tool(root: Path) -> ModuleType:
    spec = importlib.util.spec_from_file_location("benchmark_tool", root / "tools" / "benchmark.py")
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


@pytest.fixture
def called(tool, monkeypatch):
    """Runs a command line, and returns the arguments that the one function of its measurement got."""
    measures = [name for name in vars(tool) if name.startswith(MEASURES)]

    def called(command: str, *options: str) -> dict:
        # Unlike plain mocks, these refuse arguments that the function does not take.
        mocks = [create_autospec(getattr(tool, name)) for name in measures]
        with monkeypatch.context() as patch:
            for name, mock in zip(measures, mocks, strict=True):
                patch.setattr(tool, name, mock)
            patch.setattr(sys, "argv", ["benchmark.py", *command.split(), *options])
            tool.main()
        (call,) = [call for mock in mocks for call in mock.call_args_list]
        return call.kwargs

    return called


@pytest.mark.parametrize("command", COMMANDS)
def test_every_command_calls_its_function(called, command):
    assert called(command)


def test_options_become_parameters(called):
    options = ("--device", "cpu", "--size", "64", "96", "--persons", "3", "--images", "4", "--rounds", "2")
    given = called("train", *options, "--configs", "a.yaml", "--opts", "SOLVER.BASE_LR", "0.1")
    assert given["images"] == DrawnImages(4, (64, 96), 3)
    assert (given["device"], given["threads"], given["rounds"]) == ("cpu", 2, 2)
    assert (given["configs"], given["overrides"]) == (["a.yaml"], ["SOLVER.BASE_LR", "0.1"])
    assert called("export", "--compile")["compiled"] is True
    assert called("predict", "--batch-size", "3")["size"] == (480, 640)


def test_the_rounds_of_memory_are_deprecated(called, capsys):
    assert "rounds" not in called("memory", "--rounds", "3")
    assert "memory --rounds is deprecated" in capsys.readouterr().err
    called("memory")
    assert not capsys.readouterr().err
