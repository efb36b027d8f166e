"""Reading the stored numbers of the official codes."""

import importlib.util
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
