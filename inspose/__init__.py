"""InsPose, which generates a keypoint network for every person (arXiv 2107.08982)."""

import posecore  # noqa: F401  (must come before anything of Detectron2 is imported)
from inspose.config import add_config
from inspose.export import InsPoseGraph, InsPoseOfficialGraph
from inspose.inspose import InsPose
from inspose.official.model import InsPoseOfficial

__all__ = ["InsPose", "InsPoseGraph", "InsPoseOfficial", "InsPoseOfficialGraph", "add_config"]
