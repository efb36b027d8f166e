"""The keys of Poseur."""

from detectron2.config import CfgNode


def add_config(cfg: CfgNode) -> None:
    """Adds ``MODEL.POSEUR``; the defaults are the paper's final model."""
    cfg.MODEL.POSEUR = CfgNode()
