"""The configuration keys of InsPose."""

from detectron2.config import CfgNode


def add_config(cfg: CfgNode) -> None:
    """Adds ``MODEL.INSPOSE``; the defaults are the paper's final model."""
    cfg.MODEL.INSPOSE = CfgNode()
    node = cfg.MODEL.INSPOSE
    # The level that the branches of keypoint features, disk offsets and auxiliary heatmaps read.
    node.IN_FEATURE = "p3"
    # The norm behind each convolution of these branches.
    node.NORM = "GN"
    # Keypoint features: the number of 3x3 convolutions, their channels, and the channels of the shared map
    # that the KP-Nets read.
    node.NUM_CONVS = 4
    node.CONVS_DIM = 128
    node.CHANNELS = 8
    # The generated KP-Nets: their 1x1 convolutions, the prediction included (Table 2), and the channels
    # between them.
    node.DEPTH = 3
    node.WIDTH = 8
    # Pixels per cell of heatmaps and disk offsets (Table 3): 16, 8, 4 or 2. Both are resized bilinearly if
    # this is not the stride of IN_FEATURE.
    node.STRIDE = 8
    # Whether offsets refine the peaks (Table 1), the channels of their branch, and the radius in cells of the
    # disk around a keypoint where they are trained.
    node.DISK_OFFSET = True
    node.DISK_CHANNELS = 256
    node.DISK_RADIUS = 1.0
    # Whether heatmaps of all persons together are trained as an auxiliary task (Table 1), and the channels of
    # their branch, which does not run in inference.
    node.HEATMAP = True
    node.HEATMAP_CHANNELS = 256
    # Whether boxes are predicted too (Table 4); NMS then acts on them instead of the boxes that enclose the
    # keypoints. Use it with INPUT.BOXES "annotated".
    node.BOXES = False

    # The official model (MODEL.META_ARCHITECTURE "InsPoseOfficial"). Of the keys above it reads IN_FEATURE,
    # NORM, NUM_CONVS, CONVS_DIM, CHANNELS, DEPTH and WIDTH.
    node.OFFICIAL = CfgNode()
    # The nine keypoints at which the deformable 3x3 convolutions sample, row by row.
    node.OFFICIAL.TAPS = (
        "nose",
        "left_shoulder",
        "right_shoulder",
        "left_wrist",
        "right_wrist",
        "left_hip",
        "right_hip",
        "left_ankle",
        "right_ankle",
    )
    # Channels of the tower of regressed keypoints, and of the trunk of offsets, heatmaps and tags.
    node.OFFICIAL.KEYPOINT_CHANNELS = 512
    node.OFFICIAL.TRUNK_CHANNELS = 512
    # Pixels of the original image by which poses are moved right and down: 0.5 for weights that were trained
    # with the center of the first pixel at 0, as the official ones were; 0 for weights trained here.
    node.OFFICIAL.SHIFT = 0.0
