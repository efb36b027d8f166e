"""GroupPose: groups of keypoint queries attend within a person and across persons (arXiv 2308.07313)."""

import posecore  # noqa: F401  (must come before anything of Detectron2 is imported)
from grouppose.config import add_config
from grouppose.export import GroupPoseGraph
from grouppose.grouppose import GroupPose

__all__ = ["GroupPose", "GroupPoseGraph", "add_config"]
