"""A small Mask R-CNN with Poseur's head for tests."""

from pathlib import Path

from detectron2.modeling import build_model
from torch import nn

from posecore.config import get_cfg

CONFIGS = Path(__file__).resolve().parents[2] / "configs/poseur/rcnn"
TINY = (
    *("MODEL.RESNETS.DEPTH", 18, "MODEL.RESNETS.RES2_OUT_CHANNELS", 64, "MODEL.FPN.OUT_CHANNELS", 32),
    *("MODEL.RESNETS.NORM", "BN", "MODEL.BACKBONE.FREEZE_AT", 0),
    *("MODEL.ROI_BOX_HEAD.FC_DIM", 32, "MODEL.ROI_KEYPOINT_HEAD.CONV_DIMS", (16, 16)),
    *("MODEL.POSEUR.WIDTH", 32, "MODEL.POSEUR.HEADS", 4, "MODEL.POSEUR.FEED_FORWARD", 32),
    *("MODEL.POSEUR.NUM_LAYERS", 2, "MODEL.POSEUR.DROPOUT", 0.0),
    *("MODEL.RPN.POST_NMS_TOPK_TRAIN", 50, "MODEL.RPN.POST_NMS_TOPK_TEST", 50),
    *("MODEL.ROI_HEADS.BATCH_SIZE_PER_IMAGE", 32, "MODEL.ROI_HEADS.SCORE_THRESH_TEST", 0.0),
    *("TEST.DETECTIONS_PER_IMAGE", 10),
)


def tiny(*overrides: object) -> nn.Module:
    """All parts of the R-101 model, small enough to train a step in a moment."""
    cfg = get_cfg()
    cfg.merge_from_file(str(CONFIGS / "R_101.yaml"))
    cfg.merge_from_list(["MODEL.DEVICE", "cpu", "MODEL.WEIGHTS", "", *TINY, *overrides])
    return build_model(cfg)
