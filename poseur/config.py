"""The keys of Poseur."""

from detectron2.config import CfgNode


def add_config(cfg: CfgNode) -> None:
    """Adds ``MODEL.POSEUR``; the defaults are the paper's final model."""
    cfg.MODEL.POSEUR = CfgNode()
    _add_crops(cfg)


def _add_crops(cfg: CfgNode) -> None:
    """Adds ``INPUT.CROPS``, read where INPUT.VIEW is "crops"; so are INPUT.BOXES, FORMAT and RANDOM_FLIP."""
    cfg.INPUT.CROPS = CfgNode()
    node = cfg.INPUT.CROPS
    # Height and width of a crop, pixels.
    node.SIZE = (256, 192)
    # A person's box, enlarged to the shape of a crop, times this is what the crop shows.
    node.PADDING = 1.25
    # Whether annotated boxes are cut at the border of the picture first.
    node.CLIP_BOXES = True
    # Where the centre of the first pixel is: at 0.5 ("continuous") or at 0 ("indices", as released).
    node.COORDINATES = "continuous"
    # Whose boxes evaluation uses: "truth" (of persons with labelled keypoints), "file" or "detector".
    node.BOXES = "truth"
    # "file": detections in COCO's result format, one file for each of DATASETS.TEST.
    node.BOX_FILES = ()
    # "detector": configuration and weights of a model whose class 0 is persons; it runs before each
    # evaluation.
    node.DETECTOR = CfgNode()
    node.DETECTOR.CONFIG_FILE = ""
    node.DETECTOR.WEIGHTS = ""
    # Boxes with a lower score are left out in evaluation.
    node.MIN_SCORE = 0.0

    # Augmentation, in this order; probabilities of 0 leave a step out. Moved by at most SHARE of the
    # region along each axis (COCO-WholeBody: 0.3).
    node.SHIFT = CfgNode()
    node.SHIFT.PROB = 0.0
    node.SHIFT.SHARE = 0.16
    # Only the upper or lower half of persons with more labelled keypoints than MIN_KEYPOINTS, if the skeleton
    # has body_halves: the rectangle of its keypoints times PADDING. UPPER_PROB is 0.6915 as released.
    node.HALF_BODY = CfgNode()
    node.HALF_BODY.PROB = 0.3
    node.HALF_BODY.UPPER_PROB = 0.5
    node.HALF_BODY.MIN_KEYPOINTS = 8
    node.HALF_BODY.PADDING = 1.5
    # Factors 1 + N(0, SCALE) on the region's size, within 1 - SCALE and 1 + SCALE.
    node.SCALE = 0.5
    # Angles N(0, DEGREES), within two of them.
    node.ROTATION = CfgNode()
    node.ROTATION.PROB = 0.6
    node.ROTATION.DEGREES = 40.0
    # Brightness, contrast, saturation and hue; a black ellipse.
    node.COLOR = False
    node.CUTOUT = False
