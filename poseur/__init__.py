"""Direct regression by a transformer decoder (Poseur) (arXiv 2201.07412)."""

import posecore  # noqa: F401  (must come before anything of Detectron2 is imported)
from poseur.config import add_config

__all__ = ["add_config"]
