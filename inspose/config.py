"""The keys of InsPose."""

from detectron2.config import CfgNode


def add_config(cfg: CfgNode) -> None:
    """Adds ``MODEL.INSPOSE``; the defaults are the paper's final model."""
    cfg.MODEL.INSPOSE = CfgNode()
    node = cfg.MODEL.INSPOSE
    # The level that keypoint features, disk offsets and auxiliary heatmaps come from.
    node.IN_FEATURE = "p3"
    # The norm behind each convolution of these branches.
    node.NORM = "GN"
    # Keypoint features: how many 3x3 convolutions, their width, and the channels that they are reduced to.
    node.NUM_CONVS = 4
    node.CONVS_DIM = 128
    node.CHANNELS = 8
    # The generated KP-Nets: their 1x1 convolutions, the prediction included (Table 2), and the channels
    # between them.
    node.DEPTH = 3
    node.WIDTH = 8
    # Pixels per cell of keypoint maps and disk offsets (Table 3): 16, 8, 4 or 2; other than the level's own,
    # both are resized bilinearly.
    node.STRIDE = 8
    # Whether offsets refine the peaks (Table 1), the width of their branch, and the radius of the disk around
    # a keypoint where they are trained, in cells.
    node.DISK_OFFSET = True
    node.DISK_CHANNELS = 256
    node.DISK_RADIUS = 1.0
    # Heatmaps of all persons together, an auxiliary task in training (Table 1); the width of their branch.
    node.HEATMAP = True
    node.HEATMAP_CHANNELS = 256
    # Whether boxes are predicted too (Table 4); suppression then looks at them instead of the rectangles
    # around the keypoints. Train with INPUT.BOXES "annotated".
    node.BOXES = False

    # The official model (MODEL.META_ARCHITECTURE "InsPoseReleased"); of the keys above it reads IN_FEATURE,
    # NORM, NUM_CONVS, CONVS_DIM, CHANNELS, DEPTH and WIDTH.
    node.OFFICIAL = CfgNode()
    # The nine keypoints that steered 3x3 convolutions look at, row by row.
    node.OFFICIAL.TAPS = (
        *("nose", "left_shoulder", "right_shoulder", "left_wrist", "right_wrist"),
        *("left_hip", "right_hip", "left_ankle", "right_ankle"),
    )
    # Width of the convolutions before regressed keypoints, and of those before offsets, heatmaps and tags.
    node.OFFICIAL.KEYPOINT_CHANNELS = 512
    node.OFFICIAL.TRUNK_CHANNELS = 512
    # Pixels of the original image that poses are moved right and down by: 0.5 for weights that were trained
    # with the first pixel's center at 0, as the official ones were; 0 for those trained here.
    node.OFFICIAL.SHIFT = 0.0
