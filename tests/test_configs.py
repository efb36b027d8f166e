"""Every configuration builds on the CPU without weights, and so does every row of the papers' tables."""

from pathlib import Path

import pytest
import yaml
from detectron2.modeling import build_model

from posecore.config import get_cfg
from posecore.engine.solver import build_optimizer
from posecore.structures.skeleton import load_skeleton

CONFIGS = Path(__file__).resolve().parents[1] / "configs"
FILES = [path.relative_to(CONFIGS) for path in CONFIGS.glob("*/**/*.yaml")]
MODELS = sorted(str(file) for file in FILES if file.parts[0] != "paper")
ROWS = [
    pytest.param(row, id=f"{method}, {table['table']}: {row['row']}")
    for method, tables in yaml.safe_load((CONFIGS / "paper" / "tables.yaml").read_text()).items()
    for table in tables
    for row in table["rows"]
]


def merged(config: str, overrides: list) -> object:
    cfg = get_cfg()
    cfg.merge_from_file(str(CONFIGS / config))
    cfg.merge_from_list([*overrides, "MODEL.DEVICE", "cpu", "MODEL.WEIGHTS", ""])
    return cfg


@pytest.mark.parametrize("config", MODELS)
def test_every_configuration_builds(config: str) -> None:
    cfg = merged(config, [])
    model = build_model(cfg)
    assert model.device.type == "cpu"
    assert model.skeleton == load_skeleton(cfg.DATASETS.SKELETON)


@pytest.mark.long
@pytest.mark.parametrize("row", ROWS)
def test_every_row_of_the_papers_builds(row: dict) -> None:
    cfg = merged(row["config"], row["overrides"])
    build_optimizer(cfg, build_model(cfg))
    assert min(row["paper"].values()) > 0


def test_rows_of_a_table_are_different_models() -> None:
    tables = yaml.safe_load((CONFIGS / "paper" / "tables.yaml").read_text())
    for table in (table for method in tables.values() for table in method):
        dumps = [merged(row["config"], row["overrides"]).dump() for row in table["rows"]]
        assert len(set(dumps)) == len(dumps), table["table"]


@pytest.mark.parametrize("path", sorted(CONFIGS.glob("**/*.yaml")), ids=lambda path: path.name)
def test_every_configuration_says_what_it_is(path: Path) -> None:
    assert path.read_text().startswith("# "), "begin with a comment"
