"""The keys of Poseur."""

from detectron2.config import CfgNode


def add_config(cfg: CfgNode) -> None:
    """Adds ``MODEL.POSEUR``; the defaults are the paper's final model."""
    cfg.MODEL.POSEUR = CfgNode()
    _add_network(cfg)
    _add_training(cfg)
    _add_scores(cfg)
    _add_crops(cfg)


def _add_network(cfg: CfgNode) -> None:
    node = cfg.MODEL.POSEUR
    # Maps of the backbone that the decoder looks at, finest first; the last one gives the proposals.
    node.IN_FEATURES = ("res2", "res3", "res4", "res5")
    # The transformer: its width, the heads of its attentions, the width of its feed-forward layers, and the
    # probability of dropout.
    node.WIDTH = 256
    node.HEADS = 8
    node.FEED_FORWARD = 1024
    node.DROPOUT = 0.1
    # Decoder layers; 0 leaves the proposals as they are, which is RLE.
    node.NUM_LAYERS = 6
    # Whether all layers have the same weights.
    node.SHARE_LAYERS = False
    # Whether keypoints look at each other.
    node.SELF_ATTENTION = True
    # How they look at the maps: "EMSDA" (projects what it has read) or "MSDA" (projects the maps first).
    node.CROSS_ATTENTION = "EMSDA"
    # Points that a head reads on each map.
    node.POINTS = 4
    # Where the decoder starts: "proposals" or, as in Deformable DETR, "learned" references.
    node.START = "proposals"
    # What proposals are regressed from: the pooled last map of the "backbone" or, as in the official code, of the "neck".
    node.POOL = "backbone"
    # How proposals become queries: "sum" (class embedding plus encoding) or, as in the official code, "projection" (of
    # two encodings; the class embedding is added in each attention).
    node.ENCODER = "sum"
    # How weights start: "repaired" (as the official code means it) or "official" (as it does it).
    node.INIT = "repaired"


def _add_training(cfg: CfgNode) -> None:
    node = cfg.MODEL.POSEUR
    # "rle" (the likelihood of the paper), "rle_official" (what official codes add up) or "l1".
    node.LOSS = "rle"
    # Mean of the flow's latent distribution, for both coordinates (0.5 as in the official code).
    node.PRIOR_MEAN = 0.0
    # What the sum over all predicted keypoints is divided by: "predictions" (their number, labeled or not)
    # or "crops" (as when the checkpoints were trained).
    node.LOSS_NORMALIZER = "predictions"
    # Weight of the losses of the decoder's layers, lambda of equation 4.
    node.DECODER_WEIGHT = 1.0
    # In Mask R-CNN: so many queries of an image are trained, those of whole persons, drawn at random.
    node.QUERIES_PER_IMAGE = 600
    # Noisy reference points: "random" (anywhere), "perturbed" (proposals of which a few are moved, as
    # released) or "none".
    node.NOISE = CfgNode()
    node.NOISE.KIND = "random"
    # Further groups of queries.
    node.NOISE.GROUPS = 3
    # "perturbed": points of a group that are moved, on average, and the variance of the normal noise.
    node.NOISE.PER_GROUP = 4
    node.NOISE.VARIANCE = 0.2


def _add_scores(cfg: CfgNode) -> None:
    node = cfg.MODEL.POSEUR
    # A keypoint's third value: "probability" (equation 8), "certainty" (1 - sigma, as RLE) or "none" (1).
    node.SCORE = "probability"
    # "probability": a of equation 8, and a factor on it (0.7 as in the official code).
    node.SCORE_HALF_WIDTH = 0.2
    node.SCORE_FACTOR = 1.0
    # A person's score, of its box's and its keypoints': "product" (equation 5), or as in the official code "sum" (box +
    # mean + maximum) or "thresholded_product" (mean over keypoints above 0.2).
    node.INSTANCE_SCORE = "product"
    # What becomes of a crop's keypoints and those of its flipped image; the official code's names in brackets:
    # "power" (weights are powers of scores), "power_official" (type2: low scores shift points), "mean"
    # (default), "agreement" (type1), or "none": no flip test.
    node.FLIP_FUSION = "power"
    # A pose falls if a better one of the image is more similar (OKS); from 1 on none does.
    node.OKS_NMS_THRESH = 0.9
    # In evaluation so many crops go through the network at once, to bound its memory.
    node.TEST_CROPS = 128


def _add_crops(cfg: CfgNode) -> None:
    """Adds ``INPUT.CROPS``, read where INPUT.SAMPLES is "person_crops"; so are INPUT.BOXES, FORMAT and RANDOM_FLIP."""
    cfg.INPUT.CROPS = CfgNode()
    node = cfg.INPUT.CROPS
    # Height and width of a crop, pixels.
    node.SIZE = (256, 192)
    # A person's box, enlarged to the shape of a crop, times this is what the crop shows.
    node.PADDING = 1.25
    # Whether annotated boxes are cut at the border of the image first.
    node.CLIP_BOXES = True
    # Where the center of the first pixel is: at 0.5 ("continuous") or at 0 ("indices", as in the official code).
    node.COORDINATES = "continuous"
    # Whose boxes evaluation uses: "ground_truth" (of persons with labeled keypoints), "file" or "detector".
    node.BOXES = "ground_truth"
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
    # Only the upper or lower half of persons with more labeled keypoints than MIN_KEYPOINTS, if the skeleton
    # has body_halves: the rectangle of its keypoints times PADDING. UPPER_PROB is 0.6915 as in the official code.
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
