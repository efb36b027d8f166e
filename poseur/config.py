"""The config keys of Poseur: :func:`add_config` adds MODEL.POSEUR and INPUT.CROPS."""

from detectron2.config import CfgNode


def add_config(cfg: CfgNode) -> None:
    """Adds ``MODEL.POSEUR`` and ``INPUT.CROPS``; the defaults are the paper's final model."""
    cfg.MODEL.POSEUR = CfgNode()
    _add_network(cfg)
    _add_training(cfg)
    _add_scores(cfg)
    _add_crops(cfg)


def _add_network(cfg: CfgNode) -> None:
    node = cfg.MODEL.POSEUR
    # Maps of the backbone that the decoder attends to, finest first; the last one gives the proposals.
    node.IN_FEATURES = ("res2", "res3", "res4", "res5")
    # Width of the transformer, number of heads of its attentions, width of its feed-forward layers, and
    # probability of dropout.
    node.WIDTH = 256
    node.HEADS = 8
    node.FEED_FORWARD = 1024
    node.DROPOUT = 0.1
    # Number of decoder layers; with 0 the proposals are the result, which is RLE.
    node.NUM_LAYERS = 6
    # Whether all layers share their weights.
    node.SHARE_LAYERS = False
    # Whether keypoints attend to each other.
    node.SELF_ATTENTION = True
    # Attention to the maps: "EMSDA" (projects the values that it has sampled) or "MSDA" (projects the maps
    # first).
    node.CROSS_ATTENTION = "EMSDA"
    # Points that a head samples on each map.
    node.POINTS = 4
    # First references of the decoder: "proposals" or, as in Deformable DETR, "learned".
    node.START = "proposals"
    # Map that is pooled for the proposals: the last one of the "backbone" or, as in the official code, of the
    # "neck".
    node.POOL = "backbone"
    # From proposals to queries: "sum" (class embedding plus encoding) or, as in the official code,
    # "projection" (of two encodings; the class embedding is added in each attention).
    node.ENCODER = "sum"
    # Initial weights: "repaired" (what the official code intends) or "official" (what it does).
    node.INIT = "repaired"


def _add_training(cfg: CfgNode) -> None:
    node = cfg.MODEL.POSEUR
    # "rle" (the likelihood of the paper), "rle_official" (the sum of the official code) or "l1".
    node.LOSS = "rle"
    # Mean of the flow's latent distribution, for both coordinates; 0.5 in the official code.
    node.PRIOR_MEAN = 0.0
    # Normalizer of the sum over all predicted keypoints: "predictions" (their number, labeled or not) or
    # "crops" (as when the official checkpoints were trained).
    node.LOSS_NORMALIZER = "predictions"
    # Weight of the losses of the decoder's layers, lambda of equation 4.
    node.DECODER_WEIGHT = 1.0
    # In Mask R-CNN: the most queries of an image that are trained. They are those of whole persons, drawn at
    # random.
    node.QUERIES_PER_IMAGE = 600
    # Noisy reference points: "random" (uniform in the crop), "perturbed" (proposals of which a few are moved,
    # as in the official code) or "none".
    node.NOISE = CfgNode()
    node.NOISE.KIND = "random"
    # Number of further groups of queries.
    node.NOISE.GROUPS = 3
    # "perturbed": points of a group that are moved, on average, and the variance of the normal noise.
    node.NOISE.PER_GROUP = 4
    node.NOISE.VARIANCE = 0.2


def _add_scores(cfg: CfgNode) -> None:
    node = cfg.MODEL.POSEUR
    # Confidence of a keypoint: "probability" (equation 8), "certainty" (1 - sigma, as in RLE) or "none" (1).
    node.SCORE = "probability"
    # "probability": a of equation 8, and a factor of the result, 0.7 in the official code.
    node.SCORE_HALF_WIDTH = 0.2
    node.SCORE_FACTOR = 1.0
    # Score of a person, from those of its box and keypoints: "product" (equation 5) or, as in the official
    # code, "sum" (box + mean + maximum) or "thresholded_product" (box x mean over keypoints above 0.2).
    node.INSTANCE_SCORE = "product"
    # Fusion of the keypoints of a crop and of the flipped crop, with the official code's names in brackets:
    # "power" (weights are powers of the scores), "power_official" (type2: low scores shift points), "mean"
    # (default), "agreement" (type1), or "none" for no flip test.
    node.FLIP_FUSION = "power"
    # A pose is removed if its OKS with a better pose of the image is higher; from 1 on none is.
    node.OKS_NMS_THRESH = 0.9
    # In evaluation, the most crops that go through the network at once; it bounds the memory.
    node.TEST_CROPS = 128


def _add_crops(cfg: CfgNode) -> None:
    """Adds ``INPUT.CROPS``, the keys of INPUT.SAMPLES "person_crops".

    These samples also read INPUT.BOXES, FORMAT and RANDOM_FLIP.
    """
    cfg.INPUT.CROPS = CfgNode()
    node = cfg.INPUT.CROPS
    # Height and width of a crop, pixels.
    node.SIZE = (256, 192)
    # A crop shows the person's box, enlarged to the aspect ratio of a crop and then by this factor.
    node.PADDING = 1.25
    # Whether annotated boxes are first clipped to the image.
    node.CLIP_BOXES = True
    # Coordinate of the center of the first pixel: 0.5 ("continuous") or 0 ("indices", as in the official
    # code).
    node.COORDINATES = "continuous"
    # Source of the boxes in evaluation: "ground_truth" (of persons with labeled keypoints), "file" or
    # "detector".
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

    # Augmentation, in this order; a probability of 0 leaves a step out. Shift of the region, at most SHARE of
    # its size along each axis (PROB is 0.3 for COCO-WholeBody).
    node.SHIFT = CfgNode()
    node.SHIFT.PROB = 0.0
    node.SHIFT.SHARE = 0.16
    # Only the upper or lower half of persons with more labeled keypoints than MIN_KEYPOINTS, if the skeleton
    # has body_halves: the rectangle of its keypoints times PADDING. UPPER_PROB is 0.6915 in the official
    # code.
    node.HALF_BODY = CfgNode()
    node.HALF_BODY.PROB = 0.3
    node.HALF_BODY.UPPER_PROB = 0.5
    node.HALF_BODY.MIN_KEYPOINTS = 8
    node.HALF_BODY.PADDING = 1.5
    # Factor 1 + N(0, SCALE) of the region's size, clipped to [1 - SCALE, 1 + SCALE].
    node.SCALE = 0.5
    # Rotation by N(0, DEGREES), clipped to [-2 DEGREES, 2 DEGREES].
    node.ROTATION = CfgNode()
    node.ROTATION.PROB = 0.6
    node.ROTATION.DEGREES = 40.0
    # Random brightness, contrast, saturation and hue; a black ellipse.
    node.COLOR = False
    node.CUTOUT = False
