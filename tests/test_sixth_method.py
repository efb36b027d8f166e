"""A method is any installed package with an entry point: a sixth one, written here, trains beside ours."""

import os
import subprocess
import sys

import pytest

PYPROJECT = """
[build-system]
requires = ["setuptools"]
build-backend = "setuptools.build_meta"

[project]
name = "meanpose"
version = "1.0"

[project.entry-points."posecore.methods"]
meanpose = "meanpose:add_config"

[tool.setuptools]
py-modules = ["meanpose"]
"""

# One person per image: its pose is read from the average of the features.
METHOD = """
import posecore
import torch
from detectron2.config import CfgNode, configurable
from detectron2.layers import ShapeSpec
from detectron2.modeling import META_ARCH_REGISTRY
from detectron2.modeling.backbone import Backbone
from detectron2.structures import Boxes, Instances
from torch import nn

from posecore.structures.boxes import enclosing_boxes
from posecore.modeling.estimator import CommonParts, PoseEstimator
from posecore.structures.skeleton import load_skeleton


def add_config(cfg):
    cfg.MODEL.MEANPOSE = CfgNode()
    cfg.MODEL.MEANPOSE.CHANNELS = 8


class Stem(Backbone):
    def __init__(self, channels):
        super().__init__()
        self.conv = nn.Conv2d(3, channels, 3, stride=2, padding=1)

    def forward(self, images):
        return {"stem": self.conv(images).relu()}

    def output_shape(self):
        return {"stem": ShapeSpec(channels=self.conv.out_channels, stride=2)}


@META_ARCH_REGISTRY.register()
class MeanPose(PoseEstimator):
    @configurable
    def __init__(self, common):
        super().__init__(common)
        channels = self.backbone.output_shape()["stem"].channels
        self.regress = nn.Linear(channels, 2 * self.skeleton.num_keypoints)

    @classmethod
    def from_config(cls, cfg):
        stem = Stem(cfg.MODEL.MEANPOSE.CHANNELS)
        skeleton = load_skeleton(cfg.DATASETS.SKELETON)
        return {"common": CommonParts(stem, skeleton, cfg.MODEL.PIXEL_MEAN, cfg.MODEL.PIXEL_STD)}

    def poses(self, images):
        height, width = images.tensor.shape[-2:]
        points = self.regress(self.backbone(images.tensor)["stem"].mean((2, 3))).unflatten(-1, (-1, 2))
        return points.sigmoid() * torch.tensor([width, height])

    def losses(self, images, targets):
        ground_truth = torch.stack([target.gt_keypoints.tensor[0, :, :2] for target in targets])
        return {"loss_keypoints": (self.poses(images) - ground_truth).abs().mean()}

    def predict(self, images):
        results = []
        for points, size in zip(self.poses(images)[:, None], images.image_sizes):
            results.append(
                Instances(
                    size,
                    pred_boxes=Boxes(enclosing_boxes(points)),
                    scores=torch.ones(1),
                    pred_classes=torch.zeros(1, dtype=torch.long),
                    pred_keypoints=torch.cat([points, torch.ones_like(points[..., :1])], -1),
                )
            )
        return results
"""

USE = """
from posecore.config import get_cfg
import torch
from detectron2.modeling import build_model
from detectron2.structures import Boxes, Instances, Keypoints

cfg = get_cfg()
cfg.MODEL.META_ARCHITECTURE = "MeanPose"
cfg.MODEL.MEANPOSE.CHANNELS = 4
cfg.MODEL.DEVICE = "cpu"
torch.manual_seed(0)
model = build_model(cfg)
assert model.backbone.conv.out_channels == 4

boxes = Boxes(torch.tensor([[4.0, 4, 20, 28]]))
ground_truth = Instances((32, 48), gt_boxes=boxes, gt_classes=torch.tensor([0]))
ground_truth.gt_keypoints = Keypoints(torch.full((1, model.skeleton.num_keypoints, 3), 8.0))
batch = [{"image": torch.randint(256, (3, 32, 48)), "instances": ground_truth, "height": 64, "width": 96}]
optimizer = torch.optim.SGD(model.parameters(), lr=1e-3)
losses = []
for _ in range(2):
    loss = model(batch)["loss_keypoints"]
    optimizer.zero_grad()
    loss.backward()
    optimizer.step()
    losses.append(loss.item())
assert losses[1] < losses[0], losses

found = model.eval()(batch)[0]["instances"]
assert found.image_size == (64, 96)
assert found.pred_keypoints.shape == (1, model.skeleton.num_keypoints, 3)
"""


def run(*command: str, **options) -> None:
    done = subprocess.run([sys.executable, *command], capture_output=True, text=True, timeout=120, **options)
    assert done.returncode == 0, done.stderr


@pytest.mark.long
def test_installed_package_adds_its_keys_and_its_model(tmp_path, root):
    project, site = tmp_path / "meanpose", tmp_path / "site"
    project.mkdir()
    (project / "pyproject.toml").write_text(PYPROJECT)
    (project / "meanpose.py").write_text(METHOD)
    offline = ("--no-build-isolation", "--no-deps", "--no-index", "--quiet")
    run("-m", "pip", "install", *offline, "--target", str(site), str(project))
    path = os.pathsep.join([str(site), str(root)])
    run("-c", USE, cwd=tmp_path, env={**os.environ, "PYTHONPATH": path})
