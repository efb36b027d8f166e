"""A small Mask R-CNN with Poseur's head."""

from torch import nn

from helpers.configs import SMALL_RESNET, build, override_list

TINY = override_list(
    {
        **SMALL_RESNET,
        "MODEL.FPN.OUT_CHANNELS": 32,
        "MODEL.RESNETS.NORM": "BN",
        "MODEL.BACKBONE.FREEZE_AT": 0,
        "MODEL.ROI_BOX_HEAD.FC_DIM": 32,
        "MODEL.ROI_KEYPOINT_HEAD.CONV_DIMS": (16, 16),
        "MODEL.POSEUR.WIDTH": 32,
        "MODEL.POSEUR.HEADS": 4,
        "MODEL.POSEUR.FEED_FORWARD": 32,
        "MODEL.POSEUR.NUM_LAYERS": 2,
        "MODEL.POSEUR.DROPOUT": 0.0,
        "MODEL.RPN.POST_NMS_TOPK_TRAIN": 50,
        "MODEL.RPN.POST_NMS_TOPK_TEST": 50,
        "MODEL.ROI_HEADS.BATCH_SIZE_PER_IMAGE": 32,
        "MODEL.ROI_HEADS.SCORE_THRESH_TEST": 0.0,
        "TEST.DETECTIONS_PER_IMAGE": 10,
    }
)


def tiny(*overrides: object) -> nn.Module:
    """All parts of the R-101 model, small enough to train a step in a moment."""
    return build("poseur/rcnn/R_101.yaml", *TINY, *overrides)
