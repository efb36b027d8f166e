"""The keys of DirectPose."""

from detectron2.config import CfgNode


def add_config(cfg: CfgNode) -> None:
    """Adds ``MODEL.DIRECTPOSE``; the defaults are the paper's final model."""
    cfg.MODEL.DIRECTPOSE = CfgNode()
    node = cfg.MODEL.DIRECTPOSE
    # "kpalign" or "naive" (one 3x3 convolution regresses all keypoints from the location itself).
    node.HEAD = "kpalign"
    # Off: every keypoint is predicted from the features of the location itself (Table 1, "KPAlign
    # without aligner").
    node.ALIGNER = True
    # Keypoints that share one sampled vector: "skeleton" (the groups of the skeleton file) or
    # "keypoints" (each keypoint its own).
    node.GROUPS = "skeleton"
    # Whether each group has features of its own, GROUP_CHANNELS wide, instead of MODEL.FCOS.CHANNELS
    # for all.
    node.SEPARATE_FEATURES = True
    node.GROUP_CHANNELS = 64
    # The level whose features a location of level l samples: "same" (l), "finer" (l - 1, the finest
    # for the finest) or "finer_first_group_finest" (as "finer", but the skeleton's first group always
    # samples the finest, as the authors' official weights do).
    node.SAMPLE_FROM = "finer"
    # Level of the auxiliary heatmaps, "p3" (1/8) or "p4" (1/16); empty for none. Absent at test time.
    node.HEATMAP_LEVEL = "p3"
    node.HEATMAP_CHANNELS = 128
    node.HEATMAP_NORM = "GN"
    # "per_type" (a binary map per keypoint type) or "one_per_cell" (a cell has one type, the last one
    # written, as in the authors' code).
    node.HEATMAP_LABELS = "per_type"
    node.HEATMAP_WEIGHT = 4.0
    # "l1" (the authors') or "smooth_l1" (gluon-cv's: beta 1/9, persons weigh by their keypoints).
    node.KEYPOINT_LOSS = "l1"
    # A box branch beside the keypoints (Table 4); NMS then acts on its boxes. Use it with INPUT.BOXES
    # "annotated".
    node.BOX_BRANCH = False
    # Whether the box branch's factors per level scale the keypoints too, as gluon-cv's weights need.
    node.BOX_SCALES_KEYPOINTS = False
