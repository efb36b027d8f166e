"""Instance-aware keypoint networks (InsPose) (arXiv 2107.08982)."""

import posecore  # noqa: F401  (must come before anything of Detectron2 is imported)
from inspose.config import add_config

__all__ = ["add_config"]
