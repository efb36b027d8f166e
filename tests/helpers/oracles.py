"""Reading the stored numbers of the official codes."""

import importlib.util
import re
from pathlib import Path
from types import ModuleType

import numpy as np
import torch
from torch import Tensor


def load_fill(shared: Path) -> ModuleType:
    """The module fill.py of the shared data, which makes each array from its name."""
    spec = importlib.util.spec_from_file_location("fill", shared / "oracles" / "fill.py")
    fill = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(fill)
    return fill


def arrays(path: Path) -> dict[str, Tensor]:
    """The arrays of a file by name; arrays of text are left out."""
    content = {name: np.asarray(array) for name, array in np.load(path).items()}
    return {name: torch.from_numpy(array) for name, array in content.items() if array.dtype.kind != "U"}


def check(case: dict, golden: dict[str, Tensor], name: str, actual: Tensor) -> None:
    """Compares with a stored array at its tolerance.

    Args:
        case: the content of case.json.
        golden: the stored arrays.
        name: of the array.
        actual: what is compared.
    """
    expected, about = golden[name], case["arrays"][name]
    assert actual.shape == expected.shape, name
    if about.get("exact"):
        assert torch.equal(actual, expected), name
    else:
        torch.testing.assert_close(
            actual.detach(), expected, atol=about["atol"], rtol=about["rtol"], msg=lambda m: f"{name}: {m}"
        )


def fill_parameters(fill: ModuleType, entries: list[dict], rules: list[dict]) -> dict[str, Tensor]:
    """An official state dict with the values of a case.

    Args:
        fill: the module of :func:`load_fill`.
        entries: those of the manifest.
        rules: patterns with gains, and shifts where there are some; the first that fits a name counts.
    """
    compiled = [(re.compile(rule["pattern"]), rule) for rule in rules]
    state = {}
    for entry in entries:
        name = entry.get("alias_of", entry["name"])
        values = torch.from_numpy(fill.parameter(name, entry["shape"], entry["dtype"]))
        rule = next((rule for pattern, rule in compiled if pattern.fullmatch(name)), {"gain": 1.0})
        state[entry["name"]] = values * rule["gain"] + torch.tensor(rule.get("shift", 0.0))
    return state
