"""The keys of POET."""

from detectron2.config import CfgNode


def add_config(cfg: CfgNode) -> None:
    """Adds ``MODEL.POET``; the defaults are the paper's final model."""
    cfg.MODEL.POET = CfgNode()
