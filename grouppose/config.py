"""The configuration keys of GroupPose, ``MODEL.GROUPPOSE``, and their defaults."""

from detectron2.config import CfgNode

from posecore.modeling.set_prediction.keys import add_shared_keys


def add_config(cfg: CfgNode) -> None:
    """Adds ``MODEL.GROUPPOSE``; the defaults are the paper's model."""
    cfg.MODEL.GROUPPOSE = CfgNode()
    node = cfg.MODEL.GROUPPOSE
    add_shared_keys(node, dropout=0.0, num_queries=100)
    # The feature maps of the backbone, finest first, and the number of coarser levels made of the last one.
    node.IN_FEATURES = ("res3", "res4", "res5")
    node.EXTRA_LEVELS = 1
    # The points that a head of deformable attention reads on each level.
    node.POINTS = 4
    # "person" (one class) or "official" (two, of which the first never occurs).
    node.CLASSES = "person"
    # Where the encodings of queries' positions are added: "added" (to queries and keys of attention) or
    # "in_place" (into the tokens themselves, so also to values and residuals, as the official code does).
    node.QUERY_POSITIONS = "added"
    # What the poses of all layers but the last are predicted from in training: "own" (the tokens as they left
    # their layer) or "official" (these with the positions of the next layer added).
    node.AUXILIARY_STATES = "own"
    # Whether each decoder layer starts from the keypoints of the previous one, or all from the proposals.
    node.ITERATIVE_REFINEMENT = True
    # (cost, weight) pairs whose sum is the loss of a pose: "keypoint" (L1 in widths and heights of the
    # image), "oks" (1 - OKS in pixels) and "relative_oks" (1 - OKS in widths and heights, as in the official
    # code).
    node.LOSSES = [["keypoint", 10.0], ["oks", 4.0]]
    # The loss of scores: "focal", or "oks_varifocal", which trains the score of a query to be the OKS of its
    # pose.
    node.CLASS_LOSS = "focal"
    # Weight of the classes in losses and costs.
    node.CLASS_WEIGHT = 2.0
    # Denoising: in training the decoder also gets so many queries for each person, at its keypoints with
    # noise, whose standard deviation is NOISE times the square root of the person's area.
    node.DENOISING = 0
    node.NOISE = 0.1
    # A keypoint's third value: "one" or "official" (0.7311 for all).
    node.KEYPOINT_SCORE = "one"
