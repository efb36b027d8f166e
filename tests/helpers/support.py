"""A configuration without methods."""

from typing import Any

import detectron2.config
from detectron2.config import CfgNode

from posecore.config import add_config
from posecore.config.node import SafeCfgNode


def core_cfg(*overrides: Any) -> CfgNode:
    """A configuration with the keys of Detectron2 and of the core, for the CPU; no method is loaded."""
    cfg = SafeCfgNode()
    cfg.update(detectron2.config.get_cfg())
    add_config(cfg)
    cfg.merge_from_list(["MODEL.DEVICE", "cpu", *overrides])
    return cfg
