"""What every test has: one thread, fixed seeds, and the folder of shared data where there is one."""

import os
import random
from pathlib import Path

import hypothesis
import numpy as np
import pytest
import torch

import posecore  # noqa: F401  (before any test imports Detectron2, whose gaps it closes)

ROOT = Path(__file__).resolve().parents[1]

# How long an example takes says nothing here: machines are shared.
hypothesis.settings.register_profile("posecore", deadline=None)
hypothesis.settings.load_profile("posecore")

# Workers run side by side; more threads in each would only get in each other's way.
torch.set_num_threads(1)


@pytest.fixture(autouse=True)
def _fixed_seeds() -> None:
    random.seed(0)
    np.random.seed(0)
    torch.manual_seed(0)


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter) -> None:
    """The figures that attacks have printed, in whatever process they ran (`make attack`)."""
    if "POSECORE_ATTACK_FIGURES" not in os.environ:
        return
    for report in terminalreporter.getreports("passed"):
        for line in report.capstdout.splitlines():
            if line.startswith("attack: "):
                terminalreporter.write_line(line)


@pytest.fixture(scope="session")
def root() -> Path:
    """The checkout's root."""
    return ROOT


@pytest.fixture(scope="session")
def shared() -> Path:
    """Real images and reference numbers beside the project: $POSECORE_SHARED, else ../shared."""
    folder = Path(os.environ.get("POSECORE_SHARED", ROOT.parent / "shared"))
    if not folder.is_dir():
        pytest.skip(f"no shared data in {folder} (POSECORE_SHARED names another place)")
    return folder
