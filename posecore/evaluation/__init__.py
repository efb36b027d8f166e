"""How good predictions are: Detectron2 evaluators, and the functions of plain results that they call."""

from posecore.evaluation.coco import COCOPoseEvaluator
from posecore.evaluation.coco_wholebody import WholeBodyEvaluator
from posecore.evaluation.crowdpose import CrowdPoseEvaluator
from posecore.evaluation.mpii import MPIIEvaluator
from posecore.evaluation.results import PoseEvaluator

__all__ = [
    "COCOPoseEvaluator",
    "CrowdPoseEvaluator",
    "MPIIEvaluator",
    "PoseEvaluator",
    "WholeBodyEvaluator",
]
