"""POET: a transformer predicts the poses of an image as a set, without post-processing (arXiv 2103.12115)."""

import posecore  # noqa: F401  (must come before anything of Detectron2 is imported)
from poet.config import add_config
from poet.export import POETGraph
from poet.poet import POET

__all__ = ["POET", "POETGraph", "add_config"]
