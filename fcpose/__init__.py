"""FCPose, which applies a generated keypoint head per person to a shared map (arXiv 2105.14185)."""

import posecore  # noqa: F401  (must come before anything of Detectron2 is imported)
from fcpose.config import add_config
from fcpose.export import FCPoseGraph
from fcpose.fcpose import FCPose

__all__ = ["FCPose", "FCPoseGraph", "add_config"]
