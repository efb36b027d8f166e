"""The pages of the documentation: their Python blocks run, and their files, anchors and config keys exist."""

import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
import yaml
from detectron2.modeling import build_model
from torch import nn

from posecore.config import get_cfg
from posecore.config.repository import CONFIGS

LEVELS = ((6, 8), (3, 4))
CELLS = sum(height * width for height, width in LEVELS)


def detector() -> nn.Module:
    cfg = get_cfg()
    cfg.merge_from_file("configs/directpose/demo/synthetic.yaml")
    return build_model(cfg).eval()


# Every block by its file and its place in it -> the names that it takes for given, as the text has them.
GIVEN: dict[tuple[str, int], Callable[[], dict[str, Any]]] = {
    ("README.md", 0): dict,
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


# Files of the repository wherever a page names them, but no rows of configs/paper/tables.yaml; <name> stands
# for any name.
FILE = re.compile(
    r"(?<![\w/.:-])(?!\w+/table-)(?:configs|csrc|directpose|fcpose|grouppose|inspose|poet|posecore|poseur|requirements|tests|tools)"
    r"/[\w./*<>-]*[\w/*]"
)
KEY = re.compile(r"\b(?:DATALOADER|DATASETS|INPUT|MODEL|SOLVER|TEST)(?:\.[A-Z][A-Z0-9_]*)+\b")
LINK = re.compile(r"\]\(([^)#\s:]*)#([^)\s]+)\)")


def pages(root: Path) -> list[Path]:
    return [root / "README.md", root / "datasets" / "README.md", *sorted((root / "docs").glob("*.md"))]


def named_files(page: str) -> set[str]:
    """The files that a page names; in a table headed "file under `folder/`", those of its first column.

    `benchmark.py` takes its `--configs` from below configs/, so commands that the pages print have them so.
    """
    page = re.sub(r"--configs(?: [a-z]\S+)+", lambda found: found[0].replace(" ", " configs/"), page)
    named = set(FILE.findall(page))
    for folder, rows in re.findall(r"^\| file under `([^`]+)` .*\n((?:\|.*\n)+)", page, re.MULTILINE):
        for row in rows.splitlines():
            named |= {folder + name for name in re.findall(r"`([^`]+)`", row.split(" | ")[0])}
    return named


def anchors(page: str) -> set[str]:
    """The anchors of a page's headings, as GitHub makes them."""
    headings = re.findall(r"^#+ (.*)$", page, re.MULTILINE)
    return {re.sub(r"[^\w -]", "", heading).lower().replace(" ", "-") for heading in headings}


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
    # The names of files that readers have and tests do not.
    code = (
        blocks(root)[where].replace("model_final.pth", "random").replace("photo.jpg", "docs/images/demo.jpg")
    )
    with torch.no_grad():
        exec(code, GIVEN[where]())


def test_files_that_pages_name_exist(root: Path) -> None:
    missing = [
        f"{page.relative_to(root)}: {name}"
        for page in pages(root)
        for name in sorted(named_files(page.read_text()))
        if not any(root.glob(re.sub(r"<\w+>", "*", name)))
    ]
    assert not missing


def test_the_navigation_of_the_site_has_every_page(root: Path) -> None:
    """`make docs` is no part of `make test`, so a page that it would miss is found here."""
    site = yaml.safe_load((root / "mkdocs.yml").read_text())
    named = set(re.findall(r"[\w/]+\.md", yaml.safe_dump(site["nav"])))
    outside = {"index.md", "contributing.md", "changelog.md", "datasets.md", "license.md"}
    assert named - outside == {page.name for page in (root / "docs").glob("*.md")}


def test_anchors_that_links_name_exist(root: Path) -> None:
    missing = [
        f"{page.relative_to(root)}: {target}#{anchor}"
        for page in pages(root)
        for target, anchor in LINK.findall(page.read_text())
        if anchor not in anchors((page.parent / target if target else page).read_text())
    ]
    assert not missing


def test_config_keys_that_pages_name_exist(root: Path) -> None:
    cfg = get_cfg()
    unknown = []
    for page in pages(root):
        for key in sorted(set(KEY.findall(page.read_text()))):
            node: Any = cfg
            for part in key.split("."):
                node = node.get(part) if isinstance(node, dict) else None
            if node is None:
                unknown.append(f"{page.relative_to(root)}: {key}")
    assert not unknown


TEST_DEV = ["DATASETS.TEST", '("keypoints_coco_2017_test-dev",)']


def papers_ap(config: str, overrides: list[str]) -> set[str]:
    """The AP that a paper states for a file under configs/ with these overrides, maybe in several tables."""
    tables = yaml.safe_load((CONFIGS / "paper" / "tables.yaml").read_text())
    rows = [row for method in tables.values() for table in method for row in table["rows"]]
    return {
        str(row["paper"]["AP"])
        for row in rows
        if row.get("config") == config and (row.get("overrides") or []) == overrides
    }


def test_the_readme_quotes_the_papers(root: Path) -> None:
    tables = re.findall(r"^\| file under `configs/(\w+)/` .*\n.*\n((?:\|.*\n)+)", readme(root), re.MULTILINE)
    assert [method for method, _ in tables] == [
        "directpose",
        "fcpose",
        "inspose",
        "poet",
        "grouppose",
        "poseur",
    ]
    for method, rows in tables:
        for row in rows.splitlines():
            file, _, val, test_dev = (cell.strip() for cell in row.strip("|").split("|"))
            config = f"{method}/{file.strip('`')}"
            assert val or test_dev, config
            assert not val or val in papers_ap(config, []), config
            assert not test_dev or test_dev in papers_ap(config, TEST_DEV), config


def readme(root: Path) -> str:
    return (root / "README.md").read_text()
