"""Overrides that neither the model nor the samples of a configuration read."""

import random
import re
from collections.abc import Iterator
from pathlib import Path

import detectron2.config
import numpy as np
import pytest
import torch
from detectron2.config import CfgNode

from posecore.checkpoint.errors import CheckpointError
from posecore.config import get_cfg
from posecore.config.merge import merge_config
from posecore.config.repository import REPOSITORY
from posecore.engine.train import train_or_evaluate
from posecore.engine.unread_keys import (
    _NEVER_READ,
    log_unread_overrides,
    log_unread_sweep_keys,
    unread_overrides,
    unread_sweep_keys,
)

FCPOSE, POSEUR = "fcpose/lspet/Lite0", "poseur/lspet/Lite0_stride16_128x128"


def unread(config: str, *overrides: str) -> list[str]:
    cfg = merge_config(get_cfg(), REPOSITORY / f"configs/{config}.yaml", overrides)
    return unread_overrides(cfg, overrides)


@pytest.mark.parametrize(
    ("config", "key", "value"),
    [
        (FCPOSE, "MODEL.POSEUR.WIDTH", "32"),  # of another method
        (FCPOSE, "INPUT.CROPS.ROTATION.PROB", "0.5"),
        (POSEUR, "INPUT.ROTATION_PROB", "0.5"),  # of other samples
        (POSEUR, "INPUT.COLOR.BRIGHTNESS", "0.2"),
        (POSEUR, "MODEL.FCOS.NUM_CONVS", "1"),  # of the core, for other methods
        (FCPOSE, "MODEL.RESNETS.DEPTH", "18"),  # of another backbone
        (FCPOSE, "MODEL.BACKBONE.FREEZE_AT", "1"),
        (FCPOSE, "INPUT.CROP.PROB", "0.5"),  # of an option that is off
        (FCPOSE, "TEST.PRECISE_BN.ENABLED", "True"),  # of Detectron2's own training
        (POSEUR, "TEST.KEYPOINT_OKS_SIGMAS", "[0.1]"),
    ],
)
def test_an_override_without_effect(config: str, key: str, value: str) -> None:
    assert unread(config, "SEED", "1", key, value) == [key]


@pytest.mark.parametrize(
    ("config", "overrides"),
    [
        (FCPOSE, ("MODEL.FCPOSE.REFINEMENT", "none", "INPUT.ROTATION", "10.0", "MODEL.FCOS.NUM_CONVS", "1")),
        (FCPOSE, ("INPUT.CROP.ENABLED", "True", "INPUT.CROP.PROB", "0.5", "INPUT.CROP.SIZE", "(0.5, 0.5)")),
        (FCPOSE, ("MODEL.DEVICE", "cpu", "MODEL.WEIGHTS", "", "MODEL.CHANNELS_LAST", "False")),
        (POSEUR, ("MODEL.POSEUR.WIDTH", "32", "INPUT.CROPS.ROTATION.PROB", "0.5", "INPUT.FORMAT", "BGR")),
        ("poseur/rcnn/R_101", ("MODEL.RESNETS.DEPTH", "50", "INPUT.MIN_SIZE_TEST", "100")),
        (FCPOSE, ("SOLVER.MAX_ITER", "5", "TEST.AUG.FLIP", "False")),  # sections that are not examined
    ],
)
def test_overrides_with_effect(config: str, overrides: tuple[str, ...]) -> None:
    assert unread(config, *overrides) == []


def test_keys_of_detectron2_that_are_never_read_are_known() -> None:
    """Every key of another section than INPUT and MODEL is named in the code, or said to have no effect."""
    files = [
        file for folder in ("posecore", "poseur", "tools") for file in (REPOSITORY / folder).rglob("*.py")
    ]
    others = [file.read_text() for file in files if file.name != "unread_keys.py"]
    unnamed = {
        key
        for key in _names(detectron2.config.get_cfg())
        if not key.startswith(("INPUT.", "MODEL."))
        and not any(re.search(rf"\b{key.rpartition('.')[2]}\b", text) for text in others)
    }
    assert unnamed <= set(_NEVER_READ)
    assert all(unread(FCPOSE, key, "1") == [key] for key in ("VIS_PERIOD", "SOLVER.REFERENCE_WORLD_SIZE"))


def _names(node: CfgNode, prefix: str = "") -> Iterator[str]:
    for key, value in node.items():
        yield from _names(value, f"{prefix}{key}.") if isinstance(value, CfgNode) else [f"{prefix}{key}"]


def test_random_numbers_and_configuration_are_as_before() -> None:
    overrides = ["MODEL.POSEUR.WIDTH", "32"]
    cfg = merge_config(get_cfg(), REPOSITORY / f"configs/{FCPOSE}.yaml", overrides)
    before = cfg.dump()
    drawn = []
    for look in (False, True):
        random.seed(3)
        np.random.seed(3)
        torch.manual_seed(3)
        if look:
            unread_overrides(cfg, overrides)
        drawn.append((random.random(), np.random.rand(), torch.rand(1).item()))
    assert drawn[0] == drawn[1]
    assert cfg.dump() == before
    assert cfg.is_frozen()


def test_what_cannot_be_checked_does_not_stop_a_training(monkeypatch, caplog) -> None:
    def fail(cfg: CfgNode) -> None:
        raise TypeError("no copies")

    monkeypatch.setattr("posecore.engine.unread_keys.build_model", fail)
    cfg = merge_config(get_cfg(), REPOSITORY / f"configs/{FCPOSE}.yaml")
    log_unread_overrides(cfg, ["MODEL.POSEUR.WIDTH", "32"])
    assert "the overrides on the command line are not checked: no copies" in caplog.text


def test_an_evaluation_says_it(tmp_path: Path) -> None:
    overrides = ["MODEL.POSEUR.WIDTH", "32", "MODEL.WEIGHTS", "", "OUTPUT_DIR", str(tmp_path / "run")]
    with pytest.raises(CheckpointError, match=r"MODEL\.WEIGHTS"):
        train_or_evaluate(str(REPOSITORY / f"configs/{FCPOSE}.yaml"), overrides, eval_only=True)
    assert "MODEL.POSEUR.WIDTH on the command line has no effect" in (tmp_path / "run/log.txt").read_text()


def unread_sweep(values: dict[str, list[str]], *overrides: str) -> list[str]:
    return unread_sweep_keys(REPOSITORY / f"configs/{FCPOSE}.yaml", values, overrides)


def test_a_key_of_a_sweep_that_no_run_reads() -> None:
    values = {"MODEL.POSEUR.WIDTH": ["32", "64"], "MODEL.FCPOSE.DEPTH": ["2", "3"], "SEED": ["0", "1"]}
    assert unread_sweep(values) == ["MODEL.POSEUR.WIDTH"]
    assert unread_sweep({"SEED": ["0", "1"]}, "INPUT.CROP.PROB", "0.5") == ["INPUT.CROP.PROB"]


def test_a_key_of_a_sweep_that_one_run_reads() -> None:
    values = {"INPUT.CROP.ENABLED": ["False", "True"], "INPUT.CROP.PROB": ["0.5", "0.8"]}
    assert unread_sweep(values) == []


def test_the_models_of_a_sweep_are_built_until_every_key_is_read(monkeypatch) -> None:
    built = []

    def build(cfg: CfgNode) -> None:
        built.append(cfg.MODEL.FCPOSE.DEPTH)

    monkeypatch.setattr("posecore.engine.unread_keys.build_model", build)
    assert unread_sweep({"MODEL.FCPOSE.DEPTH": ["2", "3", "4"]}) == []
    assert built == [2]
    built.clear()
    assert unread_sweep({"MODEL.FCPOSE.DEPTH": ["2", "3", "4"], "MODEL.POET.WIDTH": ["8", "16"]}) == [
        "MODEL.POET.WIDTH"
    ]
    assert built == [2, 3, 4, 2]


def test_a_sweep_that_cannot_be_checked_is_said_and_starts(monkeypatch, caplog) -> None:
    config = REPOSITORY / f"configs/{FCPOSE}.yaml"
    log_unread_sweep_keys(config, {"MODEL.NO_SUCH_KEY": ["1", "2"]})
    assert not caplog.text  # the check of the runs says it

    def fail(cfg: CfgNode) -> None:
        raise TypeError("no copies")

    monkeypatch.setattr("posecore.engine.unread_keys.build_model", fail)
    log_unread_sweep_keys(config, {"MODEL.POSEUR.WIDTH": ["32", "64"]})
    assert "the keys of the sweep are not checked: no copies" in caplog.text
