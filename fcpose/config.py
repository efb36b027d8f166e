"""The keys of FCPose."""

from detectron2.config import CfgNode


def add_config(cfg: CfgNode) -> None:
    """Adds ``MODEL.FCPOSE``; the defaults are the paper's final model."""
    cfg.MODEL.FCPOSE = CfgNode()
    node = cfg.MODEL.FCPOSE
    # The levels that the shared map F is made of; it has the size of the first.
    node.IN_FEATURES = ("p3", "p4", "p5")
    # The 3x3 convolutions of F: how many follow the sum of the levels, their width, the norm behind each.
    node.NUM_CONVS = 4
    node.CONVS_DIM = 128
    node.NORM = "GN"
    # Channels of F (Table 1).
    node.CHANNELS = 32
    # The generated keypoint head: its 1x1 convolutions, the prediction included (Table 2), and the
    # channels between them (Table 3).
    node.DEPTH = 3
    node.WIDTH = 32
    # Side of the convolution that generates it: 1 (the paper's) or 3 (as in the official code).
    node.CONTROLLER_KERNEL = 1
    # How peaks get finer than the cells of F (Table 4): by offsets from "p3" (one convolution on the first
    # level) or from "tower" (the convolutions of F, as in the official code), which all persons share; by offsets that a
    # layer generated "per_person" gives (Table 5); by "deconvolution" (heatmaps four times larger); or not,
    # "none".
    node.REFINEMENT = "p3"
    # At most so many positive locations of a batch train keypoints, spread over the persons.
    node.MAX_POSITIVES = 50
    # "cells" (cross-entropy over the cells of F) or "upsampled" (over four times finer ones, as in the official code).
    node.HEATMAP_LOSS = "cells"
    node.HEATMAP_WEIGHT = 1.0
    # "squared" (offsets beside a keypoint's cell) or "expected_distance" (as in the official code: the distance
    # between ground truth and prediction, averaged over all cells by the heatmap).
    node.OFFSET_LOSS = "squared"
    node.OFFSET_WEIGHT = 4.0
    # Heatmaps of all persons together, an auxiliary task of the official code. Absent at test time.
    node.AUXILIARY = False
    node.AUXILIARY_WEIGHT = 0.2
    # A keypoint's third value: "probability" (of its cell, by the softmax over cells) or "logit" (as
    # released).
    node.KEYPOINT_SCORE = "probability"
