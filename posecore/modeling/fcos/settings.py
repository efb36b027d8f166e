"""How the detector trains and decodes: the numbers, without the networks."""

from dataclasses import dataclass

from detectron2.config import CfgNode

from posecore.config.options import choice


@dataclass(frozen=True)
class Training:
    """How persons become targets and errors become losses.

    Attributes:
        center_radius: of the positive region, in strides.
        size_ranges: upper ends of the levels' box sizes in pixels, without the last level's.
        count_images: whether the classification loss is divided by positives plus images.
        focal_alpha: weight of positives in focal losses.
        focal_gamma: their focusing exponent.
        giou_smoothing: area in cells added to intersection and union of boxes.
    """

    center_radius: float = 1.5
    size_ranges: tuple[float, ...] = (64, 128, 256, 512)
    count_images: bool = False
    focal_alpha: float = 0.25
    focal_gamma: float = 2.0
    giou_smoothing: float = 1.0

    @classmethod
    def from_config(cls, cfg: CfgNode) -> "Training":
        """What MODEL.FCOS asks for."""
        fcos = cfg.MODEL.FCOS
        return cls(
            center_radius=fcos.CENTER_RADIUS,
            size_ranges=tuple(fcos.SIZE_RANGES),
            count_images=choice(
                cfg, "MODEL.FCOS.CLS_NORMALIZER", {"positives": False, "positives_and_images": True}
            ),
            focal_alpha=fcos.FOCAL_ALPHA,
            focal_gamma=fcos.FOCAL_GAMMA,
            giou_smoothing=fcos.GIOU_SMOOTHING,
        )


@dataclass(frozen=True)
class Decoding:
    """How dense predictions become detections.

    Attributes:
        score_thresh: least class probability of a candidate.
        topk_per_level: candidates per level.
        topk_per_image: candidates per image; 0 for no limit of its own.
        nms_thresh: IoU above which the lesser of two boxes goes.
        limit: detections per image.
    """

    score_thresh: float = 0.05
    topk_per_level: int = 1000
    topk_per_image: int = 0
    nms_thresh: float = 0.5
    limit: int = 100

    @classmethod
    def from_config(cls, cfg: CfgNode) -> "Decoding":
        """What MODEL.FCOS and TEST ask for."""
        fcos = cfg.MODEL.FCOS
        return cls(
            score_thresh=fcos.SCORE_THRESH,
            topk_per_level=fcos.TOPK_PER_LEVEL,
            topk_per_image=fcos.TOPK_PER_IMAGE,
            nms_thresh=fcos.NMS_THRESH,
            limit=cfg.TEST.DETECTIONS_PER_IMAGE,
        )
