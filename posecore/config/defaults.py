"""Configuration: Detectron2's defaults, the shared keys, and the keys of every installed method.

A method is any installed package with an entry point in the group ``posecore.methods``; the entry
point is a function ``add_config(cfg)``, and importing its module registers the model.
"""

from importlib.metadata import entry_points

import detectron2.config
from detectron2.config import CfgNode

METHODS = "posecore.methods"


def get_cfg() -> CfgNode:
    """A fresh configuration that knows every key of the core and of each installed method.

    Merging a file or a list with a key that nobody defined raises ``KeyError`` naming the key.
    """
    cfg = detectron2.config.get_cfg()
    add_config(cfg)
    for method in sorted(entry_points(group=METHODS), key=lambda point: point.name):
        method.load()(cfg)
    return cfg


def add_config(cfg: CfgNode) -> None:
    """Adds the shared keys to Detectron2's."""
    _add_data(cfg)
    _add_model(cfg)
    _add_solver(cfg)
    _add_test(cfg)


def _add_data(cfg: CfgNode) -> None:
    # The keypoints of a person: the name of a shipped skeleton (coco_17, crowdpose_14, mpii_16,
    # coco_wholebody_133) or the path of a skeleton YAML. Must equal that of every dataset used.
    cfg.DATASETS.SKELETON = "coco_17"
    # Dataset YAMLs (name, annotations, images, skeleton); each makes its name usable in
    # DATASETS.TRAIN and TEST. Environment variables in the paths are expanded.
    cfg.DATASETS.DEFINITIONS = ()
    # Training images with fewer labeled keypoints than this, over all persons, are left out.
    # 0 keeps every image, those without persons too. This alone decides: Detectron2's own keys for it,
    # DATALOADER.FILTER_EMPTY_ANNOTATIONS and MODEL.ROI_KEYPOINT_HEAD.MIN_KEYPOINTS_PER_IMAGE, are not read.
    cfg.DATASETS.MIN_KEYPOINTS = 1

    # What samples are made of: "images", or a samples that a method registers ("crops": one person each).
    cfg.INPUT.SAMPLES = "images"
    # Which boxes a person trains with: "keypoints" (the least rectangle around the labeled
    # keypoints, one pixel wider on each side; a person without any is background), "annotated", or
    # "keypoints_or_annotated" (the least rectangle itself; a person without any has the annotated box).
    cfg.INPUT.BOXES = "keypoints"
    # Crops are placed on a person, drawn at random, instead of anywhere (INPUT.CROP.TYPE "absolute":
    # the window starts up to half its size before the person's corner, and is padded with black;
    # "relative_range": it reaches the person's center).
    cfg.INPUT.CROP.ON_PERSON = True
    # How often images are cropped.
    cfg.INPUT.CROP.PROB = 1.0
    # One more type, "absolute_range", as in DETR: the shorter side becomes one of RESIZE pixels, then a
    # window anywhere is cut whose sides are uniform in [SIZE[0], SIZE[1]], or as large as the image; the
    # usual resize follows.
    cfg.INPUT.CROP.RESIZE = (400, 500, 600)
    # Rotation about the image's center by an angle uniform in [-ROTATION, ROTATION] degrees, and how often.
    cfg.INPUT.ROTATION = 0.0
    cfg.INPUT.ROTATION_PROB = 1.0
    # How often a share of large cells of the image goes black (coarse dropout).
    cfg.INPUT.COARSE_DROPOUT_PROB = 0.0
    # How the longer side is rounded when an image is resized: "nearest" (Detectron2) or "down" (torchvision,
    # DETR).
    cfg.INPUT.RESIZE_ROUNDING = "nearest"
    # Color changes: each factor is uniform in [1 - value, 1 + value]; 0 leaves it out.
    cfg.INPUT.COLOR = CfgNode()
    cfg.INPUT.COLOR.BRIGHTNESS = 0.0
    cfg.INPUT.COLOR.CONTRAST = 0.0
    cfg.INPUT.COLOR.SATURATION = 0.0


def _add_model(cfg: CfgNode) -> None:
    # How many levels follow the last one of the backbone in the pyramid (P6, P7), by convolutions
    # of stride 2: 0, 1 or 2.
    cfg.MODEL.FPN.TOP_LEVELS = 2

    # Any timm backbone with feature maps, for MODEL.BACKBONE.NAME "build_fcos_timm_fpn_backbone" (a pyramid
    # on them) or "build_timm_backbone" (the maps themselves).
    cfg.MODEL.TIMM = CfgNode()
    # Name as in timm.list_models(), e.g. "dla34", "hrnet_w32", "convnext_tiny".
    cfg.MODEL.TIMM.NAME = ""
    # Strides of the maps that are taken.
    cfg.MODEL.TIMM.STRIDES = (8, 16, 32)
    # "incre" or "": where HRNets give their maps (timm's feature_location); others ignore it.
    cfg.MODEL.TIMM.FEATURE_LOCATION = ""
    # The last map goes through the 1x1 convolution that MobileNets and EfficientNets have before their
    # classifier (320 -> 1280 channels).
    cfg.MODEL.TIMM.HEAD_CONV = False
    # "BN" (trained), "FrozenBN" or "SyncBN" for the backbone's BatchNorms.
    cfg.MODEL.TIMM.NORM = "BN"

    # HRFormer, for MODEL.BACKBONE.NAME "build_hrformer_backbone".
    cfg.MODEL.HRFORMER = CfgNode()
    # "T", "S" or "B".
    cfg.MODEL.HRFORMER.SIZE = "S"
    # Probability that the last block's residuals are left out in training (stochastic depth); it rises
    # linearly from 0 at the first block.
    cfg.MODEL.HRFORMER.DROP_PATH = 0.1
    # "BN" (trained), "FrozenBN" or "SyncBN".
    cfg.MODEL.HRFORMER.NORM = "BN"

    # The one-stage detector that DirectPose, FCPose and InsPose stand on.
    cfg.MODEL.FCOS = CfgNode()
    cfg.MODEL.FCOS.IN_FEATURES = ("p3", "p4", "p5", "p6", "p7")
    # 3x3 convolutions per tower, their width and the norm behind each ("GN", "BN", "SyncBN", "").
    cfg.MODEL.FCOS.NUM_CONVS = 4
    cfg.MODEL.FCOS.CHANNELS = 256
    cfg.MODEL.FCOS.NORM = "GN"
    # Initial foreground probability of the classifier.
    cfg.MODEL.FCOS.PRIOR_PROB = 0.01
    # Positive locations lie within this many strides of a box's center, and inside the box.
    cfg.MODEL.FCOS.CENTER_RADIUS = 1.5
    # Upper ends, in pixels, of the box sizes (largest distance to a side) that each level but the
    # last is responsible for.
    cfg.MODEL.FCOS.SIZE_RANGES = (64, 128, 256, 512)
    # What the focal loss is divided by: "positives" (their number) or "positives_and_images" (plus
    # that of the images).
    cfg.MODEL.FCOS.CLS_NORMALIZER = "positives"
    cfg.MODEL.FCOS.FOCAL_ALPHA = 0.25
    cfg.MODEL.FCOS.FOCAL_GAMMA = 2.0
    # Area, in cells, added to intersection and union in the boxes' GIoU loss, as published FCOS codes do.
    cfg.MODEL.FCOS.GIOU_SMOOTHING = 1.0
    # Candidates: class probability above the threshold, then the best by score on each level, of which the
    # best of the image (0: all of them).
    cfg.MODEL.FCOS.SCORE_THRESH = 0.05
    cfg.MODEL.FCOS.TOPK_PER_LEVEL = 1000
    cfg.MODEL.FCOS.TOPK_PER_IMAGE = 0
    # Overlap (IoU of boxes) above which the lesser of two candidates is dropped.
    cfg.MODEL.FCOS.NMS_THRESH = 0.5


def _add_solver(cfg: CfgNode) -> None:
    # "SGD" or "ADAMW".
    cfg.SOLVER.OPTIMIZER = "SGD"
    # Learning-rate factors per part: (regular expression, factor) pairs; all that are found in a
    # parameter's name multiply, e.g. [["^backbone", 0.1]], or [["^(?!backbone)", 10.0]] for all the rest.
    cfg.SOLVER.LR_FACTORS = []
    # The same for weight decays.
    cfg.SOLVER.WEIGHT_DECAY_FACTORS = []
    # Lengths in epochs, as papers give them; they replace MAX_ITER and STEPS when above 0 / not
    # empty.
    cfg.SOLVER.MAX_EPOCH = 0
    cfg.SOLVER.STEPS_EPOCH = ()
    # Detectron2's keys take more values here. SOLVER.LR_SCHEDULER_NAME: "WarmupMultiStepLR" (STEPS,
    # GAMMA), "WarmupLinearLR" (to zero at the end) or "WarmupCosineLR". SOLVER.CLIP_GRADIENTS.CLIP_TYPE:
    # "value", "norm" (of each parameter) or "full_model" (of all gradients together).
    # Type of the half-precision numbers under SOLVER.AMP.ENABLED: "bfloat16" or "float16".
    cfg.SOLVER.AMP.DTYPE = "bfloat16"


def _add_test(cfg: CfgNode) -> None:
    # What is evaluated: "keypoints", and "bbox" where the model predicts boxes of its own. Neither this nor
    # COCO_BACKEND is read for MPII, which has a measure of its own.
    cfg.TEST.TASKS = ("keypoints",)
    # Who computes AP: "hotcoco" (about 40 times faster) or "pycocotools".
    cfg.TEST.COCO_BACKEND = "hotcoco"
    # CrowdPose: the crowd index at which an image is medium and at which it is hard, as in its paper; its
    # evaluation code, where published figures come from, has (0.2, 0.8).
    cfg.TEST.CROWD_BORDERS = (0.1, 0.8)
    # Whether every evaluation also takes the losses on DATASETS.TEST, of samples that are not augmented.
    cfg.TEST.LOSSES = False
    # Images of the first test dataset that are drawn beside their ground truth after each evaluation.
    cfg.TEST.NUM_PREVIEWS = 8
    # Test-time augmentation, for models that take whole images: poses found at every size of Detectron2's
    # TEST.AUG.MIN_SIZES (no longer side above MAX_SIZE), with FLIP also flipped, are merged into one set.
    # The lesser of two poses is dropped if they are too similar by "oks" (object keypoint similarity; the
    # area is that of the box around the keypoints) or by "box" (IoU of the boxes).
    cfg.TEST.AUG.MERGE = "oks"
    # The similarity above which it is.
    cfg.TEST.AUG.NMS_THRESH = 0.5
