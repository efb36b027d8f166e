"""The keys of InsPose."""

from detectron2.config import CfgNode


def add_config(cfg: CfgNode) -> None:
    """Adds ``MODEL.INSPOSE``; the defaults are the paper's final model."""
    cfg.MODEL.INSPOSE = CfgNode()
