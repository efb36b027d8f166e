"""Poses as a set (POET) (arXiv 2103.12115)."""

import posecore  # noqa: F401  (must come before anything of Detectron2 is imported)
from poet.config import add_config

__all__ = ["add_config"]
