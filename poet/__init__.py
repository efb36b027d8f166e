"""POET: poses as a set, found by a transformer without any post-processing (arXiv 2103.12115)."""

import posecore  # noqa: F401  (must come before anything of Detectron2 is imported)
from poet.config import add_config
from poet.poet import POET

__all__ = ["POET", "add_config"]
