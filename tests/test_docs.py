"""What README and docs show in Python runs as it stands there."""

import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from detectron2.modeling import build_model
from torch import nn

from posecore.config import get_cfg

LEVELS = ((6, 8), (3, 4))
CELLS = sum(height * width for height, width in LEVELS)


def detector() -> nn.Module:
    cfg = get_cfg()
    cfg.merge_from_file("configs/directpose/demo/synthetic.yaml")
    return build_model(cfg).eval()


# Every block by its file and its place in it -> the names that it takes for given, as the text has them.
GIVEN: dict[tuple[str, int], Callable[[], dict[str, Any]]] = {
    ("README.md", 0): lambda: {"image": np.zeros((60, 80, 3), np.uint8)},
    ("docs/operators.md", 0): lambda: {
        "value": torch.rand(2, 8, 5, 6),
        "points": torch.rand(3, 4, 2),
        "images": torch.tensor([0, 1, 1]),
    },
    ("docs/operators.md", 1): lambda: {
        "value": torch.rand(1, CELLS, 2, 4),
        "shapes": LEVELS,
        "locations": torch.rand(1, 5, 8, 2, 3, 2),
        "weights": torch.rand(1, 5, 8, 2, 3),
    },
    ("docs/operators.md", 2): lambda: {
        "query": torch.rand(1, 5, 256),
        "references": torch.rand(1, 5, 1, 2),
        "memory": torch.rand(1, 170, 256),
        "shapes": ((8, 16), (4, 8), (2, 4), (1, 2)),
    },
    ("docs/poseur.md", 0): dict,
    ("docs/testing.md", 0): lambda: {"model": detector(), "image": torch.zeros(3, 60, 80, dtype=torch.uint8)},
}


def blocks(root: Path) -> dict[tuple[str, int], str]:
    files = [root / "README.md", root / "CONTRIBUTING.md", *sorted((root / "docs").glob("*.md"))]
    return {
        (str(file.relative_to(root)), number): block
        for file in files
        for number, block in enumerate(re.findall(r"```python\n(.*?)```", file.read_text(), re.DOTALL))
    }


def test_all_blocks_are_tested(root: Path) -> None:
    assert blocks(root).keys() == GIVEN.keys()


@pytest.mark.parametrize("where", GIVEN, ids=lambda where: f"{where[0]}-{where[1]}")
def test_a_block_runs(where: tuple[str, int], root: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(root)
    # The one name of a file that readers have and tests do not.
    code = blocks(root)[where].replace("model_final.pth", "")
    with torch.no_grad():
        exec(code, GIVEN[where]())
