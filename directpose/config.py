"""The configuration keys of DirectPose."""

from detectron2.config import CfgNode


def add_config(cfg: CfgNode) -> None:
    """Adds ``MODEL.DIRECTPOSE``; the defaults are the paper's final model."""
    cfg.MODEL.DIRECTPOSE = CfgNode()
    node = cfg.MODEL.DIRECTPOSE
    # The keypoint branch: "kpalign", or "naive" (one 3x3 convolution regresses all keypoints from the
    # features of the location itself).
    node.HEAD = "kpalign"
    # Whether KPAlign predicts where to sample. If not, every keypoint is predicted from the features of the
    # location itself (Table 1, "KPAlign without aligner").
    node.ALIGNER = True
    # Which keypoints share one sampled vector: "skeleton" (those of a group of the skeleton file) or
    # "keypoints" (none; each keypoint has its own).
    node.GROUPS = "skeleton"
    # Whether each group has GROUP_CHANNELS channels of its own. If not, all groups share
    # MODEL.FCOS.CHANNELS channels.
    node.SEPARATE_FEATURES = True
    node.GROUP_CHANNELS = 64
    # The level whose features a location of level l samples: "same" (l), "finer" (l - 1; the finest level
    # samples itself) or "finer_first_group_finest" (as "finer", but the skeleton's first group always
    # samples the finest level, as the paper's official weights need).
    node.SAMPLE_FROM = "finer"
    # The level of the auxiliary heatmaps, "p3" (1/8) or "p4" (1/16); empty for no heatmaps. Their branch
    # does not run in inference.
    node.HEATMAP_LEVEL = "p3"
    # Channels of the branch's convolutions, and the norm behind each.
    node.HEATMAP_CHANNELS = 128
    node.HEATMAP_NORM = "GN"
    # Targets of the heatmaps: "per_type" (a binary map per keypoint type) or "one_per_cell" (a cell has one
    # type, the last one written, as in the paper's official code).
    node.HEATMAP_LABELS = "per_type"
    node.HEATMAP_WEIGHT = 4.0
    # "l1" (as in the paper's official code) or "smooth_l1" (as in gluon-cv: beta 1/9, locations weighted by
    # their number of labeled keypoints).
    node.KEYPOINT_LOSS = "l1"
    # Whether boxes are predicted beside the keypoints (Table 4); NMS then acts on them. Use it with
    # INPUT.BOXES "annotated".
    node.BOX_BRANCH = False
    # Whether the learned factors per level of the boxes scale the keypoints too, as gluon-cv's weights need.
    node.BOX_SCALES_KEYPOINTS = False
