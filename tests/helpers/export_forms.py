"""Small models of every form that is exported, by name, for tests."""

from typing import Any

from torch import nn

from helpers.configs import SMALL_FCOS, SMALL_RESNET
from posecore.modeling.fcos.head import FCOSHead

SMALL_GROUPPOSE = {
    **SMALL_RESNET,
    "MODEL.GROUPPOSE.WIDTH": 32,
    "MODEL.GROUPPOSE.FEED_FORWARD": 64,
    "MODEL.GROUPPOSE.ENCODER_LAYERS": 1,
    "MODEL.GROUPPOSE.DECODER_LAYERS": 2,
    "MODEL.GROUPPOSE.NUM_QUERIES": 20,
}
SMALL_POET = {
    **SMALL_RESNET,
    "MODEL.POET.WIDTH": 32,
    "MODEL.POET.ENCODER_LAYERS": 1,
    "MODEL.POET.DECODER_LAYERS": 2,
}
FORMS: dict[str, tuple[str, dict[str, Any]]] = {
    "directpose": ("directpose/R_50_25ep.yaml", SMALL_FCOS),
    "directpose-boxes": ("directpose/R_50_boxes_100ep.yaml", SMALL_FCOS),
    "directpose-naive": ("directpose/R_50_25ep.yaml", {**SMALL_FCOS, "MODEL.DIRECTPOSE.HEAD": "naive"}),
    "fcpose": ("fcpose/R_50_1x.yaml", SMALL_FCOS),
    "fcpose-per-person": ("fcpose/R_50_1x.yaml", {**SMALL_FCOS, "MODEL.FCPOSE.REFINEMENT": "per_person"}),
    "inspose": ("inspose/R_50_36ep.yaml", SMALL_FCOS),
    "inspose-boxes": ("inspose/R_50_boxes_36ep.yaml", SMALL_FCOS),
    "inspose-official": (
        "inspose/official/R_50_3x.yaml",
        {**SMALL_FCOS, "MODEL.INSPOSE.OFFICIAL.TRUNK_CHANNELS": 16},
    ),
    "poet": ("poet/R_50.yaml", SMALL_POET),
    "poet-deformable": ("poet/R_50.yaml", {**SMALL_POET, "MODEL.POET.ENCODER": "deformable"}),
    "grouppose": ("grouppose/R_50.yaml", SMALL_GROUPPOSE),
}


def awake(model: nn.Module) -> nn.Module:
    """The model in evaluation mode, whose classifiers find persons that differ in score."""
    for module in model.eval().modules():
        if isinstance(module, FCOSHead):
            wake(module.predictions["cls"].conv)
        elif hasattr(module, "classifier") and isinstance(module.classifier, nn.Conv2d):
            wake(module.classifier)
    return model


def wake(conv: nn.Conv2d) -> None:
    nn.init.normal_(conv.weight, std=0.1)
    nn.init.constant_(conv.bias, -2.0)
