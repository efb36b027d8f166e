"""The configuration keys of FCPose."""

from detectron2.config import CfgNode


def add_config(cfg: CfgNode) -> None:
    """Adds ``MODEL.FCPOSE``; the defaults are the paper's final model."""
    cfg.MODEL.FCPOSE = CfgNode()
    node = cfg.MODEL.FCPOSE
    # The levels that the shared map F is computed from; F has the size of the first.
    node.IN_FEATURES = ("p3", "p4", "p5")
    # The 3x3 convolutions of F: how many follow the sum of the levels, their channels, and the norm behind
    # each.
    node.NUM_CONVS = 4
    node.CONVS_DIM = 128
    node.NORM = "GN"
    # Channels of F (Table 1).
    node.CHANNELS = 32
    # The generated keypoint head: its 1x1 convolutions, the prediction included (Table 2), and the
    # channels between them (Table 3).
    node.DEPTH = 3
    node.WIDTH = 32
    # Kernel size of the controller, the convolution that generates the heads: 1 (the paper) or 3 (the
    # official code).
    node.CONTROLLER_KERNEL = 1
    # How peaks become finer than the cells of F (Table 4):
    #   "p3"             offsets from one convolution on the first level, shared by all persons
    #   "tower"          offsets from the tower of F, shared by all persons (the official code)
    #   "per_person"     offsets from a layer that is generated for each person (Table 5)
    #   "deconvolution"  heatmaps four times larger instead of offsets
    #   "none"           a keypoint is the center of its cell
    node.REFINEMENT = "p3"
    # The largest number of positive locations of a batch that train keypoints, spread over the persons.
    node.MAX_POSITIVES = 50
    # "cells" (cross-entropy over the cells of F) or "upsampled" (over cells four times finer, as in the
    # official code).
    node.HEATMAP_LOSS = "cells"
    node.HEATMAP_WEIGHT = 1.0
    # "squared" (squared errors of the offsets in the cells around a keypoint) or "expected_distance" (the
    # distance from each cell's refined point to the keypoint, averaged over all cells by the heatmap, as in
    # the official code).
    node.OFFSET_LOSS = "squared"
    node.OFFSET_WEIGHT = 4.0
    # Whether heatmaps of all persons together are trained as an auxiliary task (the official code). Their
    # branch does not run in inference.
    node.AUXILIARY = False
    node.AUXILIARY_WEIGHT = 0.2
    # The third value of a keypoint: "probability" (of its cell, by the softmax over cells) or "logit" (as in
    # the official code).
    node.KEYPOINT_SCORE = "probability"
