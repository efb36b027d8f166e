"""Times our models beside Detectron2's Keypoint R-CNN R-50-FPN (:func:`time_models`).

All have random weights and predict one image, in one process, in turns. Random weights find nobody, so the
number of persons is set: Keypoint R-CNN's proposals and box head run at their full cost and their result is
replaced by a number of boxes; FCOS-based models keep the same number of best candidates; models whose number
of detections is fixed, as POET's is, return what they return. The stems are scaled down, because random
weights overflow in Keypoint R-CNN's keypoint head.
"""

import dataclasses
from collections.abc import Callable, Sequence
from functools import partial
from pathlib import Path
from typing import Any

import detectron2.config
import torch
from detectron2.config import CfgNode
from detectron2.modeling import build_model
from detectron2.modeling.meta_arch import GeneralizedRCNN
from detectron2.structures import Boxes, Instances
from matplotlib.figure import Figure
from torch import Tensor, nn

from posecore.benchmarks.timing import describe_machine, take_turns
from posecore.config import get_cfg
from posecore.config.merge import merge_config
from posecore.config.repository import CONFIGS
from posecore.layers.precision import autocast_to
from posecore.modeling.build import build_inference_model, inference_precision
from posecore.modeling.fcos.detector import FCOSDetector
from posecore.modeling.fcos.head import FCOSHead
from posecore.visualization.images import write_figure

PEER = "Keypoint R-CNN R-50-FPN"
STEM_SCALE = 1e-4
# Distance of our boxes' sides from their locations.
BOX_CELLS = 4.0

# Detectron2's keypoint_rcnn_R_50_FPN, whose file is part of its model zoo.
KEYPOINT_RCNN: dict[str, Any] = {
    "MODEL.META_ARCHITECTURE": "GeneralizedRCNN",
    "MODEL.KEYPOINT_ON": True,
    "MODEL.BACKBONE.NAME": "build_resnet_fpn_backbone",
    "MODEL.RESNETS.OUT_FEATURES": ["res2", "res3", "res4", "res5"],
    "MODEL.FPN.IN_FEATURES": ["res2", "res3", "res4", "res5"],
    "MODEL.ANCHOR_GENERATOR.SIZES": [[32], [64], [128], [256], [512]],
    "MODEL.ANCHOR_GENERATOR.ASPECT_RATIOS": [[0.5, 1.0, 2.0]],
    "MODEL.RPN.IN_FEATURES": ["p2", "p3", "p4", "p5", "p6"],
    "MODEL.RPN.PRE_NMS_TOPK_TEST": 1000,
    "MODEL.RPN.POST_NMS_TOPK_TEST": 1000,
    "MODEL.ROI_HEADS.NAME": "StandardROIHeads",
    "MODEL.ROI_HEADS.IN_FEATURES": ["p2", "p3", "p4", "p5"],
    "MODEL.ROI_HEADS.NUM_CLASSES": 1,
    "MODEL.ROI_BOX_HEAD.NAME": "FastRCNNConvFCHead",
    "MODEL.ROI_BOX_HEAD.NUM_FC": 2,
    "MODEL.ROI_BOX_HEAD.POOLER_RESOLUTION": 7,
}


class FixedBoxes:
    """Runs a box head and replaces its result by boxes of ``num_persons`` persons.

    Args:
        box_head: Detectron2's ``StandardROIHeads._forward_box``.

    Attributes:
        num_persons: boxes per image.
    """

    def __init__(self, box_head: Callable[[dict[str, Tensor], list[Instances]], object]) -> None:
        self.box_head = box_head
        self.num_persons = 1

    def __call__(self, features: dict[str, Tensor], proposals: list[Instances]) -> list[Instances]:
        self.box_head(features, proposals)
        device = next(iter(features.values())).device
        return [boxes_side_by_side(proposal.image_size, self.num_persons, device) for proposal in proposals]


def boxes_side_by_side(image_size: tuple[int, int], count: int, device: torch.device) -> Instances:
    """Boxes of persons next to each other, half as high as the image of that (height, width)."""
    height, width = image_size
    left = torch.linspace(0, width * 0.8, count, device=device)
    top = torch.full_like(left, height * 0.25)
    boxes = torch.stack([left, top, left + width * 0.2, top + height * 0.5], dim=1)
    return Instances(
        image_size,
        pred_boxes=Boxes(boxes),
        scores=torch.ones_like(left),
        pred_classes=torch.zeros_like(left, dtype=torch.int64),
    )


def build_keypoint_rcnn(device: str) -> nn.Module:
    """Keypoint R-CNN with random weights; :func:`predict` sets how many persons it returns."""
    model = build_model(keypoint_rcnn_cfg(device))
    model.roi_heads._forward_box = FixedBoxes(model.roi_heads._forward_box)
    return scale_stem(model)


def keypoint_rcnn_cfg(device: str) -> CfgNode:
    """The configuration of Detectron2's Keypoint R-CNN, with the defaults of Detectron2."""
    cfg = detectron2.config.get_cfg()
    cfg.merge_from_list([item for pair in KEYPOINT_RCNN.items() for item in pair])
    cfg.MODEL.DEVICE = device
    return cfg


def our_cfg(config: str, device: str, overrides: Sequence[str] = ()) -> CfgNode:
    """A configuration below configs/, without weights."""
    fixed = ["MODEL.DEVICE", device, "MODEL.WEIGHTS", ""]
    return merge_config(get_cfg(), CONFIGS / config, [*fixed, *overrides])


def build_ours(cfg: CfgNode) -> nn.Module:
    """The model of a configuration with random weights, for :func:`predict`."""
    return prepare_random_weights(build_inference_model(cfg))


def prepare_random_weights(model: nn.Module) -> nn.Module:
    """The model of random weights, in evaluation mode, whose boxes have an area and whose maps are finite."""
    for module in model.modules():
        if isinstance(module, FCOSHead) and "ltrb" in module.predictions:
            bias = module.predictions.get_parameter("ltrb.conv.bias")
            nn.init.constant_(bias, BOX_CELLS)
    return scale_stem(model)


def set_num_persons(model: nn.Module, num_persons: int) -> bool:
    """Makes a model return a number of persons per image.

    Of an FCOS-based model every location becomes a candidate, and no candidate suppresses another one.

    Returns:
        Whether the model has such a number; False if it always returns the same.
    """
    if isinstance(model, GeneralizedRCNN):
        model.roi_heads._forward_box.num_persons = num_persons
    elif isinstance(detector := getattr(model, "detector", None), FCOSDetector):
        detector.inference_settings = dataclasses.replace(
            detector.inference_settings, score_thresh=0.0, nms_thresh=1.0, max_detections=num_persons
        )
    else:
        return False
    return True


def predict(model: nn.Module, image: Tensor, num_persons: int, precision: torch.dtype | None = None) -> None:
    """Predicts an image, (3, H, W) uint8, with a number of persons in it, in half precision or float32.

    Raises:
        RuntimeError: the model returns another number, for instance because it has fewer locations.
    """
    is_set = set_num_persons(model, num_persons)
    with autocast_to(precision, model):
        count = len(model([{"image": image}])[0]["instances"])
    if is_set and count != num_persons:
        raise RuntimeError(f"{type(model).__name__} finds {count} persons instead of {num_persons}")


def time_models(
    configs: Sequence[str],
    *,
    persons: Sequence[int],
    size: tuple[int, int],
    device: str,
    threads: int,
    rounds: int,
    overrides: Sequence[str] = (),
    plot: Path | None = None,
) -> None:
    """Prints median milliseconds per image and their ratio to Keypoint R-CNN's, by number of persons.

    Args:
        configs: our models, below configs/.
        persons: numbers of persons in the image.
        size: height and width of the image.
        device: "cpu" or "cuda".
        threads: on the CPU.
        rounds: runs of each model.
        overrides: KEY VALUE pairs for our models, such as TEST.PRECISION; the peer stays in float32.
        plot: an image of milliseconds over persons to write.
    """
    torch.manual_seed(0)
    torch.set_num_threads(threads)
    models = {PEER: build_keypoint_rcnn(device)}
    cfgs = {config: our_cfg(config, device, overrides) for config in configs}
    models |= {config: build_ours(cfg) for config, cfg in cfgs.items()}
    precisions = {config: inference_precision(cfg) for config, cfg in cfgs.items()}
    image = torch.randint(0, 256, (3, *size), dtype=torch.uint8)
    candidates = {
        (name, count): partial(predict, model, image, count, precisions.get(name))
        for name, model in models.items()
        for count in persons
    }
    with torch.no_grad():
        times = take_turns(candidates, rounds, device)
    print(f"{describe_machine(device)}; an image of {size[0]} x {size[1]}")
    print(f"medians of {rounds} rounds, random weights; {' '.join(overrides) or 'no overrides'}")
    print(f"{'model':40}{'persons':>9}{'ms':>10}{'ratio':>8}")
    for (name, count), milliseconds in times.items():
        print(f"{name:40}{count:9}{milliseconds:10.0f}{milliseconds / times[PEER, count]:8.2f}")
    if plot:
        plot_times(times, plot)


def plot_times(times: dict[tuple[str, int], float], file: Path) -> None:
    """Draws milliseconds over persons, a line per model (FCPose, Figure 6).

    Args:
        times: by model and number of persons.
        file: the image to write.
    """
    figure = Figure(figsize=(7, 4), layout="constrained")
    axes = figure.subplots()
    for name in dict.fromkeys(name for name, _ in times):
        points = [(count, value) for (model, count), value in times.items() if model == name]
        axes.plot(*zip(*points, strict=True), marker="o", label=name)
    axes.set(xlabel="persons in the image", ylabel="milliseconds", ylim=(0, None))
    axes.grid(alpha=0.3)
    axes.legend()
    write_figure(file, figure)


def scale_stem(model: nn.Module) -> nn.Module:
    """The model in evaluation mode, its first convolution scaled down."""
    with torch.no_grad():
        backbone: Any = model.backbone
        resnet = getattr(backbone, "bottom_up", backbone)
        stem = next(module for module in resnet.modules() if isinstance(module, nn.Conv2d))
        stem.weight.mul_(STEM_SCALE)
    return model.eval()
