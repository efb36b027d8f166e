"""Configuration keys: :func:`get_cfg` has Detectron2's, the shared ones, and those of installed methods.

A method is any installed package with an entry point in the group ``posecore.methods``; the entry
point is a function ``add_config(cfg)``, and importing its module registers the model.
"""

from importlib.metadata import entry_points

import detectron2.config
from detectron2.config import CfgNode

from posecore.config.device import find_device
from posecore.config.node import SafeCfgNode

METHODS = "posecore.methods"
# Twice Pillow's MAX_IMAGE_PIXELS, above which Pillow itself refuses an image.
MAX_PIXELS = 178_956_970


def get_cfg() -> CfgNode:
    """A fresh configuration that knows every key of the core and of each installed method.

    Merging a file or a list with an unknown key raises a ``KeyError`` that names the key. Files cannot run
    code (:class:`posecore.config.node.SafeCfgNode`).
    """
    cfg = SafeCfgNode()
    cfg.update(detectron2.config.get_cfg())
    add_config(cfg)
    for method in sorted(entry_points(group=METHODS), key=lambda point: point.name):
        method.load()(cfg)
    return cfg


def add_config(cfg: CfgNode) -> None:
    """Adds the shared keys to Detectron2's."""
    # Whether two trainings with the same SEED, which must be set, end with the same weights also on a GPU: an
    # operator that adds in an order that changes is replaced by a slower one, or is an error that names it.
    # Detectron2's CUDNN_BENCHMARK is then not read.
    cfg.DETERMINISTIC = False
    # Where the metrics of a training go: "json" (OUTPUT_DIR/metrics.json, which the curves are drawn from and
    # searches read), "tensorboard", "wandb" (Weights & Biases, offline) and "mlflow" (a file store). The last
    # two are optional packages.
    cfg.LOGGERS = ("json", "tensorboard")
    _add_data(cfg)
    _add_model(cfg)
    _add_solver(cfg)
    _add_test(cfg)


def _add_data(cfg: CfgNode) -> None:
    # The keypoints of a person: the name of a built-in skeleton (coco_17, crowdpose_14, lsp_14,
    # mpii_16, coco_wholebody_133) or the path of a skeleton YAML. Must equal that of every dataset used.
    cfg.DATASETS.SKELETON = "coco_17"
    # Dataset YAMLs (name, annotations, images, skeleton); each makes its name usable in
    # DATASETS.TRAIN and TEST. Environment variables in the paths are expanded.
    cfg.DATASETS.DEFINITIONS = ()
    # Training images with fewer labeled keypoints than this, over all persons, are left out.
    # 0 keeps every image, also those without persons. Detectron2's keys for the same purpose,
    # DATALOADER.FILTER_EMPTY_ANNOTATIONS and MODEL.ROI_KEYPOINT_HEAD.MIN_KEYPOINTS_PER_IMAGE, are not read.
    cfg.DATASETS.MIN_KEYPOINTS = 1
    # What happens where a training image cannot be read: "stop", or the share of the images that may be left
    # out, such as "0.01"; another sample takes the place of each, and OUTPUT_DIR/bad_images.txt names it.
    cfg.DATASETS.BAD_IMAGES = "stop"

    # What a sample is made of: "images", or a kind that a method registers (Poseur's "person_crops").
    cfg.INPUT.SAMPLES = "images"
    # Image files of more pixels than this are refused, because small files may claim enormous sizes
    # ("decompression bombs"). The default is Pillow's limit; 0 lifts it.
    cfg.INPUT.MAX_PIXELS = MAX_PIXELS
    # Boxes of the persons in training: "keypoints" (the smallest rectangle around the labeled keypoints, one
    # pixel wider on each side; a person without any is background), "annotated", or
    # "keypoints_or_annotated" (the smallest rectangle itself; for a person without any, the annotated box).
    cfg.INPUT.BOXES = "keypoints"
    # Crops are placed on a person, drawn at random, instead of anywhere (INPUT.CROP.TYPE "absolute":
    # the window starts up to half its size before the person's corner, and is padded with black;
    # "relative_range": it reaches the person's center). With TYPE "person" the window is always around a
    # person: its side is uniform in [SIZE[0], SIZE[1]] times the longer side of the person's box.
    cfg.INPUT.CROP.ON_PERSON = True
    # Probability that an image is cropped.
    cfg.INPUT.CROP.PROB = 1.0
    # For INPUT.CROP.TYPE "absolute_range", DETR's crop: the shorter side is resized to one of RESIZE pixels,
    # then a window anywhere is cropped, whose sides are uniform in [SIZE[0], SIZE[1]] and at most those of
    # the image; the usual resize follows.
    cfg.INPUT.CROP.RESIZE = (400, 500, 600)
    # Rotation about the image's center by an angle uniform in [-ROTATION, ROTATION] degrees, and its
    # probability.
    cfg.INPUT.ROTATION = 0.0
    cfg.INPUT.ROTATION_PROB = 1.0
    # Probability of coarse dropout, which turns a share of large cells of the image black.
    cfg.INPUT.COARSE_DROPOUT_PROB = 0.0
    # Probability that a training image becomes a mosaic of four, each augmented by itself.
    cfg.INPUT.MOSAIC_PROB = 0.0
    # Rounding of the longer side when an image is resized: "nearest" (Detectron2) or "down" (torchvision,
    # DETR).
    cfg.INPUT.RESIZE_ROUNDING = "nearest"
    # Color changes: each factor is uniform in [1 - value, 1 + value]; 0 for no change.
    cfg.INPUT.COLOR = CfgNode()
    cfg.INPUT.COLOR.BRIGHTNESS = 0.0
    cfg.INPUT.COLOR.CONTRAST = 0.0
    cfg.INPUT.COLOR.SATURATION = 0.0


def _add_model(cfg: CfgNode) -> None:
    # Where the model runs: "cpu", "cuda", "cuda:1", or "auto" for "cuda" where torch finds a GPU and "cpu"
    # elsewhere. The default is "auto", of which the result stands here, because Detectron2's build_model
    # knows torch's names alone.
    cfg.MODEL.DEVICE = find_device("auto")
    # Whether maps lie in memory by pixels ("NHWC") instead of channels. Convolutions are faster so on GPUs
    # with tensor cores and on recent CPUs; results differ by rounding.
    cfg.MODEL.CHANNELS_LAST = False
    # Whether the backbone and the dense heads are compiled by torch.compile, for any size of the image, when
    # they are first called, which takes minutes. Their maps lie in memory by pixels. Results differ by
    # rounding.
    cfg.MODEL.COMPILE = False
    # torch.compile's backend: "inductor", or "aot_eager" and "eager", which generate no code and help to find
    # what does not compile.
    cfg.MODEL.COMPILE_BACKEND = "inductor"
    # Whether the backbone's blocks keep only their inputs for the backward pass, and compute what is within
    # them again there: less memory in training for more time. Results do not change.
    cfg.MODEL.BACKBONE.ACTIVATION_CHECKPOINTING = False
    # Number of levels above the last one of the backbone in the pyramid (P6, P7), made by convolutions of
    # stride 2: 0, 1 or 2.
    cfg.MODEL.FPN.TOP_LEVELS = 2

    # Any timm backbone with feature maps, for MODEL.BACKBONE.NAME "build_fcos_timm_fpn_backbone" (a pyramid
    # on them) or "build_timm_backbone" (the maps themselves).
    cfg.MODEL.TIMM = CfgNode()
    # Name as in timm.list_models(), e.g. "dla34", "hrnet_w32", "convnext_tiny". MODEL.WEIGHTS
    # package://efficientnet_lite0 needs "tf_efficientnet_lite0", MODEL.PIXEL_MEAN [127.0, 127.0, 127.0],
    # PIXEL_STD [128.0, 128.0, 128.0] and INPUT.FORMAT "RGB".
    cfg.MODEL.TIMM.NAME = ""
    # Strides of the maps that the backbone returns.
    cfg.MODEL.TIMM.STRIDES = (8, 16, 32)
    # For HRNets, the place of their maps: "incre" or "" (timm's feature_location). Other models ignore it.
    cfg.MODEL.TIMM.FEATURE_LOCATION = ""
    # Whether the last map goes through the 1x1 convolution that MobileNets and EfficientNets have before
    # their classifier (320 -> 1280 channels).
    cfg.MODEL.TIMM.HEAD_CONV = False
    # "BN" (trained), "FrozenBN" or "SyncBN" for the backbone's BatchNorms.
    cfg.MODEL.TIMM.NORM = "BN"
    # Norm of each map that the backbone returns: "LN" (of Swins, whose maps have none) or "" for none.
    cfg.MODEL.TIMM.OUT_NORM = ""
    # Stochastic depth: the probability that the last block's residuals are left out in training, for models
    # that have it; 0 for timm's own.
    cfg.MODEL.TIMM.DROP_PATH = 0.0
    # The layers that the map of this stride depends on are not trained, and their BatchNorms are constant, as
    # MODEL.BACKBONE.FREEZE_AT has it for ResNets (4 is like FREEZE_AT 2). A step is faster and needs less
    # memory. 0 trains all.
    cfg.MODEL.TIMM.FREEZE_STRIDE = 0

    # HRFormer, for MODEL.BACKBONE.NAME "build_hrformer_backbone".
    cfg.MODEL.HRFORMER = CfgNode()
    # "T", "S" or "B".
    cfg.MODEL.HRFORMER.SIZE = "S"
    # Stochastic depth: the probability that the last block's residuals are left out in training; it rises
    # linearly from 0 at the first block.
    cfg.MODEL.HRFORMER.DROP_PATH = 0.1
    # "BN" (trained), "FrozenBN" or "SyncBN".
    cfg.MODEL.HRFORMER.NORM = "BN"

    # The one-stage detector that DirectPose, FCPose and InsPose are built on.
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
    # Normalizer of the focal loss: "positives" (their number) or "positives_and_images" (plus the number of
    # images).
    cfg.MODEL.FCOS.CLS_NORMALIZER = "positives"
    cfg.MODEL.FCOS.FOCAL_ALPHA = 0.25
    cfg.MODEL.FCOS.FOCAL_GAMMA = 2.0
    # Area, in cells, added to intersection and union in the GIoU loss of boxes, as in official FCOS code.
    cfg.MODEL.FCOS.GIOU_SMOOTHING = 1.0
    # Candidates for detections have a class probability above SCORE_THRESH. The best TOPK_PER_LEVEL of each
    # level are kept, and of these the best TOPK_PER_IMAGE of the image (0 for all of them).
    cfg.MODEL.FCOS.SCORE_THRESH = 0.05
    cfg.MODEL.FCOS.TOPK_PER_LEVEL = 1000
    cfg.MODEL.FCOS.TOPK_PER_IMAGE = 0
    # Overlap (IoU of boxes) above which the candidate with the lower score is dropped.
    cfg.MODEL.FCOS.NMS_THRESH = 0.5


def _add_solver(cfg: CfgNode) -> None:
    # "SGD" or "ADAMW".
    cfg.SOLVER.OPTIMIZER = "SGD"
    # Learning-rate factors of parameters: (regular expression, factor) pairs. A parameter gets the product of
    # all factors whose expression is found in its name, e.g. [["^backbone", 0.1]], or
    # [["^(?!backbone)", 10.0]] for all but the backbone.
    cfg.SOLVER.LR_FACTORS = []
    # The same for weight decays.
    cfg.SOLVER.WEIGHT_DECAY_FACTORS = []
    # Lengths in epochs. They replace MAX_ITER where MAX_EPOCH is above 0, and STEPS where STEPS_EPOCH is not
    # empty.
    cfg.SOLVER.MAX_EPOCH = 0
    cfg.SOLVER.STEPS_EPOCH = ()
    # Parts that each process computes its share of SOLVER.IMS_PER_BATCH in, one after another, so that only
    # one part is in memory. The batch, and with it the learning rate, the schedule and the order of the
    # samples, stay those of SOLVER.IMS_PER_BATCH.
    cfg.SOLVER.ACCUMULATION_STEPS = 1
    # Exponential moving averages of the weights, which checkpoints hold beside the weights (TEST.WEIGHTS).
    cfg.SOLVER.EMA = CfgNode()
    cfg.SOLVER.EMA.ENABLED = False
    # The share of the averages that an iteration keeps; iteration n uses min(DECAY, (1 + n) / (10 + n)).
    cfg.SOLVER.EMA.DECAY = 0.9998
    # Two of Detectron2's keys have other values here. SOLVER.LR_SCHEDULER_NAME: "WarmupMultiStepLR" (STEPS,
    # GAMMA), "WarmupLinearLR" (to zero at the end) or "WarmupCosineLR". SOLVER.CLIP_GRADIENTS.CLIP_TYPE:
    # "value", "norm" (of each parameter) or "full_model" (of all gradients together).
    # Half-precision type under SOLVER.AMP.ENABLED: "bfloat16" or "float16".
    cfg.SOLVER.AMP.DTYPE = "bfloat16"


def _add_test(cfg: CfgNode) -> None:
    # What is evaluated: "keypoints", and "bbox" where the model predicts boxes of its own. Not read for MPII,
    # like COCO_BACKEND: its metric is PCKh. PCK (format pck) is evaluated in any case.
    cfg.TEST.TASKS = ("keypoints",)
    # The weights of a checkpoint that evaluations, predictions and new trainings take: "averaged" (those of
    # SOLVER.EMA; an error where there are none), "trained" (those that the optimizer has changed), or "auto"
    # (averaged where there are any). Evaluations during a training with SOLVER.EMA follow it too.
    cfg.TEST.WEIGHTS = "auto"
    # Precision of the networks in evaluations and predictions: "float32"; "bfloat16" or "float16" by
    # autocast, where positions, scores and losses stay in float32. Half precision implies
    # MODEL.CHANNELS_LAST, except in the evaluations during a training.
    cfg.TEST.PRECISION = "float32"
    # Library that computes AP: "hotcoco" (about 40 times faster) or "pycocotools".
    cfg.TEST.COCO_BACKEND = "hotcoco"
    # CrowdPose: the crowd index at which an image is medium and at which it is hard. The default is that of
    # the paper; the official evaluation code, which published results use, has (0.2, 0.8).
    cfg.TEST.CROWD_BORDERS = (0.1, 0.8)
    # Whether every evaluation also computes the losses on DATASETS.TEST, of samples that are not augmented.
    cfg.TEST.LOSSES = False
    # Number of images of the first test dataset that are drawn with predictions and ground truth after each
    # evaluation.
    cfg.TEST.NUM_PREVIEWS = 8
    # Test-time augmentation, for models that take whole images: the poses found at every size of Detectron2's
    # TEST.AUG.MIN_SIZES (no longer side above MAX_SIZE), with FLIP also in flipped images, are merged. Of two
    # similar poses the one with the lower score is dropped; the similarity is "oks" (object keypoint
    # similarity; the area is that of the box around the keypoints) or "box" (IoU of the boxes).
    cfg.TEST.AUG.MERGE = "oks"
    # The similarity above which a pose is dropped.
    cfg.TEST.AUG.NMS_THRESH = 0.5
    # Whether the dropped poses vote, with the others, on the keypoints of those that remain.
    cfg.TEST.AUG.VOTING = False
