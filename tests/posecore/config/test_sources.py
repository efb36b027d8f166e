"""The source of each value of a configuration, as --print-config prints it."""

import re
from pathlib import Path

import pytest
import yaml

from posecore.config import get_cfg
from posecore.config.merge import merge_config
from posecore.config.repository import CONFIGS
from posecore.config.sources import config_with_sources, value_sources


@pytest.fixture
def files(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A file on two bases, of which the second changes a value of the first."""
    monkeypatch.chdir(tmp_path)
    (tmp_path / "first.yaml").write_text("SEED: 1\nSOLVER: {BASE_LR: 0.5, MAX_ITER: 7}\n")
    (tmp_path / "second.yaml").write_text("SOLVER: {MAX_ITER: 8}\n")
    (tmp_path / "config.yaml").write_text("_BASE_: [first.yaml, second.yaml]\nMODEL: {WEIGHTS: ''}\n")
    return tmp_path / "config.yaml"


def test_the_last_source_of_a_value_counts(files: Path) -> None:
    overrides = ["SEED", "1"]  # the same value as before
    assert value_sources("config.yaml", overrides) == {
        "SEED": "command line",
        "SOLVER.BASE_LR": "first.yaml",
        "SOLVER.MAX_ITER": "second.yaml",
        "MODEL.WEIGHTS": "config.yaml",
    }


def test_every_value_has_its_source_in_a_comment(files: Path) -> None:
    overrides = ["OUTPUT_DIR", "2024", "DATASETS.TRAIN", "()"]
    text = config_with_sources(merge_config(get_cfg(), files, overrides), files, overrides)
    assert re.search(r"^OUTPUT_DIR: '2024' +# command line$", text, re.MULTILINE)
    assert re.search(r"^  TRAIN: \[\] +# command line$", text, re.MULTILINE)
    assert re.search(r"^  MAX_ITER: 8 +# second\.yaml$", text, re.MULTILINE)
    assert re.search(r"^  GAMMA: 0\.1 +# default$", text, re.MULTILINE)
    assert re.search(r"^  DEVICE: \w+ +# default, found on this machine$", text, re.MULTILINE)
    values = [line for line in text.splitlines() if not line.endswith(":")]
    assert all("  # " in line for line in values)


@pytest.mark.parametrize("config", ["poet/R_50.yaml", "poseur/rcnn/HRNet_W48.yaml", ""])
def test_the_text_is_the_configuration_itself(tmp_path: Path, config: str) -> None:
    file = CONFIGS / config if config else ""
    cfg = merge_config(get_cfg(), file)
    text = config_with_sources(cfg, file)
    (tmp_path / "printed.yaml").write_text(text)
    # As YAML, in which lists and tuples inside of values are the same.
    again = merge_config(get_cfg(), tmp_path / "printed.yaml")
    assert yaml.safe_load(again.dump()) == yaml.safe_load(cfg.dump())
    assert yaml.safe_load(text) == yaml.safe_load(cfg.dump())
