"""Configurations and models of the files under configs/, for tests."""

from collections.abc import Mapping
from typing import Any

from detectron2.config import CfgNode
from detectron2.modeling import build_model

from posecore.config import get_cfg
from posecore.config.repository import CONFIGS

SMALL_RESNET = {"MODEL.RESNETS.DEPTH": 18, "MODEL.RESNETS.RES2_OUT_CHANNELS": 64}
SMALL_FCOS = {
    **SMALL_RESNET,
    "MODEL.FPN.OUT_CHANNELS": 32,
    "MODEL.FCOS.CHANNELS": 32,
    "MODEL.FCOS.NUM_CONVS": 1,
}


def override_list(values: Mapping[str, Any]) -> tuple[Any, ...]:
    """{key: value} -> (key, value, key, value, ...), as ``merge_from_list`` takes them."""
    return tuple(part for pair in values.items() for part in pair)


def load_cfg(config: str, *overrides: Any) -> CfgNode:
    """A configuration under configs/, for the CPU and without weights."""
    cfg = get_cfg()
    cfg.merge_from_file(str(CONFIGS / config))
    cfg.merge_from_list(["MODEL.DEVICE", "cpu", "MODEL.WEIGHTS", "", *overrides])
    return cfg


def build(config: str, *overrides: Any) -> Any:
    """The model of a configuration under configs/."""
    return build_model(load_cfg(config, *overrides))
