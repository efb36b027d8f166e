"""Direct regression by a transformer decoder (Poseur) (arXiv 2201.07412)."""

import posecore  # noqa: F401  (must come before anything of Detectron2 is imported)
from poseur.config import add_config
from poseur.export import PoseurGraph
from poseur.poseur import Poseur
from poseur.rcnn import PoseRCNN
from poseur.roi_head import PoseurROIHeads
from poseur.samples import PersonCropSamples

__all__ = ["PersonCropSamples", "PoseRCNN", "Poseur", "PoseurGraph", "PoseurROIHeads", "add_config"]
