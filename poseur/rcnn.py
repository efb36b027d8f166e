"""Mask R-CNN for human poses: :class:`PoseRCNN`, for example with Poseur's keypoint head (section 4.3)."""

from typing import Any

from detectron2.config import CfgNode, configurable
from detectron2.modeling import META_ARCH_REGISTRY
from detectron2.modeling.meta_arch import GeneralizedRCNN

from posecore.modeling.backbones.build import apply_checkpointing
from posecore.structures.skeleton import Skeleton, load_skeleton


@META_ARCH_REGISTRY.register()
class PoseRCNN(GeneralizedRCNN):
    """Detectron2's ``GeneralizedRCNN`` with a skeleton.

    Args:
        skeleton: defines which keypoints a person has.
        rcnn: the arguments of ``GeneralizedRCNN``.

    Raises:
        ValueError: MODEL.ROI_KEYPOINT_HEAD.NUM_KEYPOINTS, which Detectron2's own heads read, is not the
            skeleton's number of keypoints.
    """

    @configurable
    def __init__(self, *, skeleton: Skeleton, **rcnn: Any) -> None:
        super().__init__(**rcnn)
        self.skeleton = skeleton

    @classmethod
    def from_config(cls, cfg: CfgNode) -> dict[str, Any]:
        """Detectron2's arguments, and those of the keys that all models share."""
        skeleton = load_skeleton(cfg.DATASETS.SKELETON)
        configured = cfg.MODEL.ROI_KEYPOINT_HEAD.NUM_KEYPOINTS
        if configured != skeleton.num_keypoints:
            raise ValueError(
                f"MODEL.ROI_KEYPOINT_HEAD.NUM_KEYPOINTS is {configured}, but the skeleton "
                f"{skeleton.name!r} (DATASETS.SKELETON) has {skeleton.num_keypoints} keypoints"
            )
        parts = super().from_config(cfg)
        apply_checkpointing(cfg, parts["backbone"])
        return {**parts, "skeleton": skeleton}
