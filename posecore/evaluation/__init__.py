"""How good predictions are: Detectron2 evaluators, and the functions of plain results that they call."""

from posecore.evaluation.coco import COCOPoseEvaluator

__all__ = ["COCOPoseEvaluator"]
