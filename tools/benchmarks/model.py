"""Inference time of our models beside Detectron2's Keypoint R-CNN R-50-FPN.

Both run with random weights on one image, in one process, in turns. Random weights find nothing, so
the number of persons is set: Keypoint R-CNN's proposals and box head run at their full cost and their
result is replaced by so many boxes; ours keeps its so many best candidates; POET returns all its queries,
whoever is in the image. The stems are scaled down, because random weights overflow in Keypoint R-CNN's
keypoint head.
"""

import argparse
import dataclasses
from functools import partial
from pathlib import Path
from typing import Any

import detectron2.config
import torch
from detectron2.modeling import build_model
from detectron2.structures import Boxes, Instances
from matplotlib.figure import Figure
from posecore.modeling.fcos.estimator import FCOSEstimator
from torch import Tensor, nn

from benchmarks.timing import describe_machine, take_turns
from poet import POET
from posecore.config import get_cfg

CONFIGS = Path(__file__).resolve().parents[2] / "configs"
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


def keypoint_rcnn(device: str) -> nn.Module:
    """Keypoint R-CNN; :func:`find` sets how many persons it finds."""
    cfg = detectron2.config.get_cfg()
    cfg.merge_from_list([item for pair in KEYPOINT_RCNN.items() for item in pair])
    cfg.MODEL.DEVICE = device
    model = build_model(cfg)
    run_box_head = model.roi_heads._forward_box

    def fixed_boxes(features: dict[str, Tensor], proposals: list[Instances]) -> list[Instances]:
        run_box_head(features, proposals)
        return [people(proposal.image_size, model.persons, device) for proposal in proposals]

    model.roi_heads._forward_box = fixed_boxes
    return quiet(model)


def people(image_size: tuple[int, int], count: int, device: str) -> Instances:
    """Boxes of persons side by side, half as high as the image."""
    height, width = image_size
    left = torch.linspace(0, width * 0.8, count, device=device)
    top = torch.full_like(left, height * 0.25)
    boxes = torch.stack([left, top, left + width * 0.2, top + height * 0.5], dim=1)
    fields = {"scores": torch.ones_like(left), "pred_classes": torch.zeros_like(left, dtype=torch.int64)}
    return Instances(image_size, pred_boxes=Boxes(boxes), **fields)


def ours(config: str, device: str) -> nn.Module:
    """One of our models; :func:`find` sets how many persons it finds."""
    cfg = get_cfg()
    cfg.merge_from_file(str(CONFIGS / config))
    cfg.merge_from_list(["MODEL.DEVICE", device, "MODEL.WEIGHTS", ""])
    model = build_model(cfg)
    if isinstance(model, FCOSEstimator):
        # Every location is a candidate and none hides another; boxes have an area.
        model.how_to_decode = dataclasses.replace(model.how_to_decode, score_thresh=0.0, nms_thresh=1.0)
        if "ltrb" in model.head.predictors:
            nn.init.constant_(model.head.predictors["ltrb"].conv.bias, BOX_CELLS)
    return quiet(model)


def quiet(model: nn.Module) -> nn.Module:
    with torch.no_grad():
        resnet = getattr(model.backbone, "bottom_up", model.backbone)
        stem = next(module for module in resnet.modules() if isinstance(module, nn.Conv2d))
        stem.weight.mul_(STEM_SCALE)
    return model.eval()


def predict(model: nn.Module, image: Tensor, persons: int) -> None:
    """Finds so many persons in an image, (3, H, W) uint8."""
    expected = persons
    if isinstance(model, FCOSEstimator):
        model.how_to_decode = dataclasses.replace(model.how_to_decode, limit=persons)
    elif isinstance(model, POET):
        expected = model.queries.positions.num_embeddings
    else:
        model.persons = persons
    found = len(model([{"image": image}])[0]["instances"])
    if found != expected:
        raise RuntimeError(f"{type(model).__name__} finds {found} persons instead of {expected}")


def run(args: argparse.Namespace) -> None:
    """Prints median milliseconds per image and their ratio to Keypoint R-CNN's, by number of persons."""
    torch.manual_seed(0)
    torch.set_num_threads(args.threads)
    models = {PEER: keypoint_rcnn(args.device)}
    models |= {config: ours(config, args.device) for config in args.configs}
    image = torch.randint(0, 256, (3, *args.size), dtype=torch.uint8)

    with torch.no_grad():
        candidates = {
            (name, persons): partial(predict, model, image, persons)
            for name, model in models.items()
            for persons in args.persons
        }
        times = take_turns(candidates, args.rounds, args.device)
    print(f"{describe_machine(args.device)}; an image of {args.size[0]} x {args.size[1]}")
    print(f"medians of {args.rounds} rounds, random weights")
    print(f"{'model':40}{'persons':>9}{'ms':>10}{'ratio':>8}")
    for (name, persons), milliseconds in times.items():
        print(f"{name:40}{persons:9}{milliseconds:10.0f}{milliseconds / times[PEER, persons]:8.2f}")
    if args.plot:
        plot(times, args.plot)


def plot(times: dict[tuple[str, int], float], file: Path) -> None:
    """Milliseconds over persons, a line per model (Figure 6 of FCPose's paper)."""
    figure = Figure(figsize=(7, 4), layout="constrained")
    axes = figure.subplots()
    for name in dict.fromkeys(name for name, _ in times):
        points = [(persons, value) for (model, persons), value in times.items() if model == name]
        axes.plot(*zip(*points, strict=True), marker="o", label=name)
    axes.set(xlabel="persons in the image", ylabel="milliseconds", ylim=(0, None))
    axes.grid(alpha=0.3)
    axes.legend()
    figure.savefig(file, dpi=110)
