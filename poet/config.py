"""The configuration keys of POET, ``MODEL.POET``, and their defaults."""

from detectron2.config import CfgNode


def add_config(cfg: CfgNode) -> None:
    """Adds ``MODEL.POET``; the defaults are the paper's final model."""
    cfg.MODEL.POET = CfgNode()
    node = cfg.MODEL.POET
    # The feature map of the backbone that the encoder reads.
    node.IN_FEATURE = "res5"
    # The transformer: its width, the heads of its attentions, its layers, the width of its feed-forward
    # layers, and the probability of dropout.
    node.WIDTH = 256
    node.HEADS = 8
    node.ENCODER_LAYERS = 6
    node.DECODER_LAYERS = 6
    node.FEED_FORWARD = 2048
    node.DROPOUT = 0.1
    # The number of queries: at most so many persons of an image are found.
    node.NUM_QUERIES = 25
    # "person" (one class, and "no object") or "official" (persons, persons without usable keypoints, and
    # "no object").
    node.CLASSES = "person"
    # COCO's flag from which a keypoint counts as visible: 2 or, to train hidden keypoints too, 1.
    node.MIN_VISIBILITY = 2
    # (cost, weight) pairs whose sum is the loss of a pose (Equation 3). Costs: "offset", "coded_offset",
    # "keypoint", "center", "center_distance", "visibility", "visibility_distance", "oks" and "relative_oks"
    # (posecore/modeling/set_prediction/costs.py, poet/costs.py).
    node.LOSSES = [["offset", 4.0], ["visibility", 0.2], ["center", 0.5]]
    # The same for the cost of a match (Equation 1); empty: those of LOSSES.
    node.COSTS = []
    # "repaired" or "official" (with the official code's mix-up of indices).
    node.MATCHER = "repaired"
    # Weight of queries without a person in the cross-entropy of classes.
    node.NO_OBJECT_WEIGHT = 0.1
    # Whether every decoder layer has losses, or the last one alone.
    node.AUXILIARY = True
    # A keypoint's third value: "visibility" (as predicted) or "one" (as in the official code).
    node.KEYPOINT_SCORE = "visibility"
    # Pixels of the original image that poses are moved right and down by: 0.5 for weights that were trained
    # with the first pixel's center at 0, as the official ones were; 0 for those trained here.
    node.SHIFT = 0.0
