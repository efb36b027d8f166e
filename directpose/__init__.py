"""DirectPose, which regresses poses from aligned features, without boxes or grouping (arXiv 1911.07451)."""

import posecore  # noqa: F401  (must come before anything of Detectron2 is imported)
from directpose.config import add_config
from directpose.directpose import DirectPose
from directpose.export import DirectPoseGraph

__all__ = ["DirectPose", "DirectPoseGraph", "add_config"]
