"""The configuration keys of POET, ``MODEL.POET``, and their defaults."""

from detectron2.config import CfgNode

from posecore.modeling.set_prediction.keys import add_shared_keys


def add_config(cfg: CfgNode) -> None:
    """Adds ``MODEL.POET``; the defaults are the paper's final model."""
    cfg.MODEL.POET = CfgNode()
    node = cfg.MODEL.POET
    # COSTS are those of Equation 1.
    add_shared_keys(node, dropout=0.1, num_queries=25)
    # The feature map of the backbone that the encoder reads.
    node.IN_FEATURE = "res5"
    # The attention of the encoder: "dense", of each cell to all, or "deformable", to POINTS points around it
    # for each head.
    node.ENCODER = "dense"
    node.POINTS = 4
    # "person" (one class, and "no object") or "official" (persons, persons without usable keypoints, and
    # "no object").
    node.CLASSES = "person"
    # COCO's flag from which a keypoint counts as visible: 2 or, to train hidden keypoints too, 1.
    node.MIN_VISIBILITY = 2
    # (cost, weight) pairs whose sum is the loss of a pose (Equation 3). Costs: "offset", "coded_offset",
    # "keypoint", "center", "center_distance", "visibility", "visibility_distance", "oks" and "relative_oks"
    # (posecore/modeling/set_prediction/costs.py, poet/costs.py).
    node.LOSSES = [["offset", 4.0], ["visibility", 0.2], ["center", 0.5]]
    # "repaired" or "official" (with the official code's mix-up of indices).
    node.MATCHER = "repaired"
    # The loss of classes: "cross_entropy", with "no object" as a class, or "focal", with a sigmoid for each
    # class; and its weight, in the costs of matches too.
    node.CLASS_LOSS = "cross_entropy"
    node.CLASS_WEIGHT = 1.0
    # Weight of queries without a person in the cross-entropy of classes.
    node.NO_OBJECT_WEIGHT = 0.1
    # Whether every decoder layer has losses, or the last one alone.
    node.AUXILIARY = True
    # A keypoint's third value: "visibility" (as predicted) or "one" (as in the official code).
    node.KEYPOINT_SCORE = "visibility"
