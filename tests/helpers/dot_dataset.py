"""A dataset whose persons are three colored dots, and models that detect them without training."""

import json

import cv2
import numpy as np
import torch
import yaml
from detectron2.config import configurable
from detectron2.modeling import META_ARCH_REGISTRY
from detectron2.structures import Boxes, Instances
from torch import nn

from helpers.configs import override_list
from posecore.config import get_cfg
from posecore.structures.skeleton import Skeleton, load_skeleton

HANDS = {
    "name": "hands",
    "keypoints": ["left", "right", "chin"],
    "flip_pairs": [["left", "right"]],
    "limbs": [],
    "sigmas": [0.1, 0.1, 0.1],
}
# The red, green and blue dot of the person, in COCO's pixels.
LEFT, RIGHT, CHIN = (60, 40.25), (95.5, 35), (80, 71)
SIZE = (96, 72)


def make_cfg(*overrides):
    """A configuration of person crops from annotated boxes, for the CPU."""
    cfg = get_cfg()
    cfg.merge_from_list(["MODEL.DEVICE", "cpu", "DATALOADER.NUM_WORKERS", 0, "SOLVER.IMS_PER_BATCH", 2])
    cfg.merge_from_list(["INPUT.SAMPLES", "person_crops", "INPUT.BOXES", "annotated", "INPUT.FORMAT", "RGB"])
    cfg.merge_from_list(["INPUT.CROPS.SIZE", SIZE, *overrides])
    return cfg


def dots_cfg(folder):
    """Writes a dataset "dots" of two images to the folder, and returns a configuration of their crops.

    The first image has a person with a dot at each of three keypoints, a crowd, a person without labels, two
    persons whose boxes are partly and wholly outside the image, and a person with a box of no width. The
    second image is black and has no persons.
    """
    rows, columns = np.mgrid[:110, :150]
    spots = [np.exp(-((columns - x) ** 2 + (rows - y) ** 2) / 18) for x, y in (LEFT, RIGHT, CHIN)]
    image = (250 * np.stack(spots, axis=-1)).round().astype(np.uint8)
    cv2.imwrite(str(folder / "1.png"), image[..., ::-1])
    cv2.imwrite(str(folder / "2.png"), np.zeros((60, 50, 3), np.uint8))
    three = [value for point in (LEFT, RIGHT, CHIN) for value in (*point, 2)]
    one, none = three[:3] + [0] * 6, [0] * 9
    person = {"category_id": 1, "image_id": 1, "iscrowd": 0, "bbox": [50, 25, 60, 60], "area": 1000}
    people = [
        person | {"id": 1, "keypoints": three, "num_keypoints": 3},
        person | {"id": 2, "keypoints": three, "num_keypoints": 3, "iscrowd": 1},
        person | {"id": 3, "keypoints": none, "num_keypoints": 0},
        person | {"id": 4, "keypoints": one, "num_keypoints": 1, "bbox": [200, 10, 5, 5]},
        person | {"id": 5, "keypoints": one, "num_keypoints": 1, "bbox": [-20, 90, 40, 40]},
        person | {"id": 6, "keypoints": three, "num_keypoints": 3, "bbox": [50, 25, 0, 60]},
    ]
    images = [
        {"id": 1, "file_name": "1.png", "height": 110, "width": 150},
        {"id": 2, "file_name": "2.png", "height": 60, "width": 50},
    ]
    category = {"id": 1, "name": "person", "keypoints": HANDS["keypoints"]}
    content = {"images": images, "annotations": people, "categories": [category]}
    (folder / "ground_truth.json").write_text(json.dumps(content))
    (folder / "hands.yaml").write_text(yaml.safe_dump(HANDS))
    definition = {"name": "dots", "annotations": "ground_truth.json", "images": ".", "skeleton": "hands.yaml"}
    (folder / "dots.yaml").write_text(yaml.safe_dump(definition))
    return make_cfg(
        *override_list(
            {
                "DATASETS.DEFINITIONS": (str(folder / "dots.yaml"),),
                "DATASETS.TRAIN": ("dots",),
                "DATASETS.TEST": ("dots",),
                "DATASETS.SKELETON": str(folder / "hands.yaml"),
            }
        ),
    )


@META_ARCH_REGISTRY.register()
class DotPose(nn.Module):
    """Predicts keypoint k of three at the center of mass of channel k of a crop."""

    @configurable
    def __init__(self, *, skeleton: Skeleton) -> None:
        super().__init__()
        self.skeleton = skeleton
        self.register_buffer("unused", torch.zeros(1))

    @classmethod
    def from_config(cls, cfg):
        return {"skeleton": load_skeleton(cfg.DATASETS.SKELETON)}

    def forward(self, batched_inputs):
        return [{"instances": self.find(inputs)} for inputs in batched_inputs]

    def find(self, inputs):
        weights = inputs["crops"].double() + 1e-9  # (M, 3, h, w)
        height, width = weights.shape[2:]
        total = weights.sum(dim=(2, 3))
        x = (weights.sum(dim=2) * (torch.arange(width) + 0.5)).sum(dim=2) / total
        y = (weights.sum(dim=3) * (torch.arange(height) + 0.5)).sum(dim=2) / total
        points = torch.stack([x, y, torch.ones_like(x)], dim=2).float()
        found = Instances((inputs["height"], inputs["width"]))
        points = points @ inputs["crop_to_image"].transpose(1, 2)
        found.pred_keypoints = torch.cat([points, torch.ones_like(points[..., :1])], dim=2)
        found.pred_boxes = Boxes(inputs["boxes"])
        found.scores = inputs["box_scores"]
        found.pred_classes = torch.zeros(len(points), dtype=torch.int64)
        return found


@META_ARCH_REGISTRY.register()
class OneDetector(nn.Module):
    """Detects a person and a dog in the box around all bright pixels of an image."""

    def __init__(self, cfg) -> None:
        super().__init__()
        self.register_buffer("score", torch.zeros(1))  # in the weights

    def forward(self, batched_inputs):
        results = []
        for inputs in batched_inputs:
            scale = inputs["height"] / inputs["image"].shape[1]
            rows, columns = inputs["image"].float().amax(dim=0).gt(60).nonzero().T * scale
            found = Instances((inputs["height"], inputs["width"]))
            corners = [[columns.min(), rows.min(), columns.max(), rows.max()]] * 2 if len(rows) else []
            found.pred_boxes = Boxes(torch.tensor(corners).reshape(-1, 4))
            found.scores = self.score.expand(len(corners))
            found.pred_classes = torch.tensor([0, 16])[: len(corners)]
            results.append({"instances": found})
        return results
