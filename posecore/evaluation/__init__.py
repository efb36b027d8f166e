"""Evaluation of poses: a Detectron2 evaluator for each benchmark, and the functions that they call."""

from posecore.evaluation.build import build_evaluator
from posecore.evaluation.coco import COCOPoseEvaluator
from posecore.evaluation.coco_wholebody import WholeBodyEvaluator
from posecore.evaluation.crowdpose import CrowdPoseEvaluator
from posecore.evaluation.mpii import MPIIEvaluator
from posecore.evaluation.pck import PCKEvaluator
from posecore.evaluation.results import PoseEvaluator

__all__ = [
    "COCOPoseEvaluator",
    "CrowdPoseEvaluator",
    "MPIIEvaluator",
    "PCKEvaluator",
    "PoseEvaluator",
    "WholeBodyEvaluator",
    "build_evaluator",
]
